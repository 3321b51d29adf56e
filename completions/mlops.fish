# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mlops_global_optspecs
    string join \n local profile= region= endpoint-url= output= q/quiet v/verbose y/yes color= poll-interval= timeout= h/help V/version
end

function __fish_mlops_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mlops_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mlops_using_subcommand
    set -l cmd (__fish_mlops_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mlops -n "__fish_mlops_needs_command" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_needs_command" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_needs_command" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_needs_command" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_needs_command" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_needs_command" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_needs_command" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_needs_command" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_needs_command" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_needs_command" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_needs_command" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_needs_command" -s V -l version -d 'Print version'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "init" -d 'Put the architecture into the account, and start a project'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "config" -d 'Show the configuration'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "promote" -d 'Put a model version into production'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "lineage" -d 'Show where a model version comes from'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "status" -d 'Show the project on one screen'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "data" -d 'Push training data and look at its versions'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "image" -d 'Build and push container images, look at them, and choose the one a branch works with'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "local" -d 'Run and manage the local cloud'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "demo" -d 'Show the whole story on a local cloud, with real data'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "monitor" -d 'Watch the model in production'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "validate" -d 'Check data against its baseline'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "train" -d 'Run the pipeline of a branch, and wait for its model'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "runs" -d 'Look at training runs, read their logs, stop them'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "models" -d 'Look at the versions in the model registry'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "markdown-help" -d 'Print the command reference in Markdown'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "analyze" -d 'Analyse data as the container of a Model Monitor job'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "job-process" -d 'Enter a job\'s namespaces and become its program'
complete -c mlops -n "__fish_mlops_using_subcommand init" -l name -d 'The project\'s name (default: the directory\'s)' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand init" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand init" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand init" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand init" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand init" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand init" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand config; and not __fish_seen_subcommand_from show" -f -a "show" -d 'Show what commands are configured with: mlops.toml < environment < flags'
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand promote" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand promote" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand promote" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand promote" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand promote" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand lineage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand status" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand status" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand status" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand status" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand status" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand status" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand status" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand status" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand status" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand status" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -f -a "push" -d 'Push a directory or a file as a new version of a data set'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -f -a "versions" -d 'List the versions of a data set, newest first'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -f -a "diff" -d 'Show which files differ between two versions of a data set'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -f -a "pull" -d 'Fetch a version\'s files into a directory, byte for byte'
complete -c mlops -n "__fish_mlops_using_subcommand data; and not __fish_seen_subcommand_from push versions diff pull verify" -f -a "verify" -d 'Read a version\'s files back and compare them with their checksums'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l bucket -d 'The versioned bucket (default: the project\'s data bucket)' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from push" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l limit -d 'How many versions' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l bucket -d 'The versioned bucket (default: the project\'s data bucket)' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l all -d 'All versions'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from versions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l bucket -d 'The versioned bucket (default: the project\'s data bucket)' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l bucket -d 'The versioned bucket (default: the project\'s data bucket)' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l bucket -d 'The versioned bucket (default: the project\'s data bucket)' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand data; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "build" -d 'Build the project\'s image'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "push" -d 'Push an image to the project\'s repository, or to any registry'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "list" -d 'List the images of the project\'s repository, the newest first'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "show" -d 'Show an image: platforms, layers, labels, scan, and who uses it'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "pin" -d 'Record in the branch which image it works with'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "use" -d 'Follow the newest image again: take the branch\'s pin away'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "scan" -d 'Show the vulnerabilities that ECR found in an image'
complete -c mlops -n "__fish_mlops_using_subcommand image; and not __fish_seen_subcommand_from build push list show pin use scan rm" -f -a "rm" -d 'Remove images from the project\'s repository'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l builder -d 'What builds the image (default: image.builder of mlops.toml)' -r -f -a "auto\t'`program` with --local, `layers` with a base, else an engine that is there, else `layers`'
docker\t'Docker builds the Dockerfile'
podman\t'podman builds the Dockerfile'
buildah\t'buildah builds the Dockerfile, without a daemon and without rights'
layers\t'No engine: a base, the Python packages and the program as layers; the same inputs give the same digest'
program\t'The program alone; the local cloud installs the packages of requirements.txt itself'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l base -d 'What `layers` builds on: scratch, oci:DIR, or an image of a registry' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l python -d 'The Python of the image, such as 3.12 (default: what the base says)' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l platform -d 'What the image runs on: linux/amd64 or linux/arm64' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l into -d 'The layout directory, which is replaced (default: .mlops/image)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l allow-unpinned -d 'Take any version of what requirements.txt does not pin'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l allow-dirty -d 'Build from files that are not committed; the image says so'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from build" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l compression -d 'How layers are compressed that an archive or a store has uncompressed (default: gzip)' -r -f -a "gzip\t'What every registry and every runtime takes'
zstd\t'Smaller and faster; needs Docker 23, containerd 1.5 or newer to run'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l to -d 'Push to this registry and tag instead of the project\'s repository' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l mount-from -d 'Take layers over from this other repository of the registry; can be given more than once' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l branch -d 'The branch that the image belongs to, where git is on none (a checkout by commit, in CI)' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l plain-http -d 'Speak HTTP without TLS with --to; credentials are sent that way to this machine only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l allow-dirty -d 'Push files that are not committed; the image gets the branch\'s tag only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l analyzer -d 'Push the image that Processing jobs run for `validate` and `monitor`: this very program'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from push" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l lifecycle-preview -d 'List instead what ECR would expire by the repository\'s life-cycle policy, or by the one in FILE; nothing is removed' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l commit -d 'Commit the file, and nothing else'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from pin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l commit -d 'Commit the change, and nothing else'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from use" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l fail-on -d 'End with exit code 3 when a finding is this bad or worse' -r -f -a "low\t''
medium\t''
high\t''
critical\t''"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l wait -d 'Wait for a scan that goes on'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l older-than -d 'All images that were pushed more than this many days ago; with --untagged: those of them' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l untagged -d 'All images without a tag'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l dry-run -d 'Show what would be removed, and remove nothing'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand image; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -f -a "start" -d 'Run a local cloud until Ctrl-C'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -f -a "stop" -d 'End the local cloud; what it keeps stays'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -f -a "status" -d 'Say whether a local cloud runs, and where'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -f -a "reset" -d 'End the local cloud and remove everything it keeps'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset inject" -f -a "inject" -d 'Give the local cloud what it cannot find out by itself'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l port -d 'The port to listen on; 0 takes any that is free (default: 4566; with --detach the last one, 4566, or any that is free)' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l idle-minutes -d 'End after this many minutes without a request or a job' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l state -d 'The state directory (default: .mlops/local of the project, or of this directory)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l detach -d 'Run in the background and return'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l require-credentials -d 'Make random credentials and refuse any others (for a shared machine)'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l any-port -d 'Take the last port, 4566, or any that is free'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l state -d 'The state directory (default: .mlops/local of the project, or of this directory)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l state -d 'The state directory (default: .mlops/local of the project, or of this directory)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l state -d 'The state directory (default: .mlops/local of the project, or of this directory)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from inject" -f -a "scan" -d 'Load the findings of a vulnerability scan for an image'
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand demo" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand demo" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand demo" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand demo" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -f -a "run" -d 'Compare what the endpoint captured with the baseline'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and not __fish_seen_subcommand_from run report" -f -a "report" -d 'Show the newest result again, or one of an earlier run'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l since -d 'Only predictions from this time on (RFC 3339)' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l until -d 'Only predictions before this time (RFC 3339)' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l hours -d 'Only predictions of the last hours' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l capture -d 'Where the captured traffic lies (default: the live endpoint\'s)' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l html -d 'Write the report as a page with a chart per drifted feature' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand monitor; and __fish_seen_subcommand_from report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l constraints -d 'The constraints to check (default: those of the project\'s baseline)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l statistics -d 'The statistics that drift is measured from' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l explain -d 'Show one column beside its baseline: quantiles, categories, every distance' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l format -d 'What the data is (default: what the names say, .csv, .jsonl or .parquet; else csv)' -r -f -a "csv\t'Comma-separated values with a header line'
jsonl\t'One flat JSON object a line'
parquet\t'Apache Parquet'
capture\t'What an endpoint captured (JSON Lines)'"
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l profile-out -d 'Write the mergeable profile of the data instead of a verdict; --constraints and --statistics say which categories are always counted' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l output-dir -d 'Where the result\'s files go (with --suggest, default: the project\'s baseline)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l on -d 'What runs the validation; for lambda and processing, the data is in S3' -r -f -a "here\t'This process'
lambda\t'A Lambda function made of this binary'
processing\t'A SageMaker Processing job'
spark\t'Apache Spark'"
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l function-binary -d 'The executable for the function: Linux, no glibc symbol newer than 2.34 (--on lambda; default: this one)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l instance-type -d 'The job\'s instance type (--on processing; default: that of mlops.toml)' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l resume -d 'Wait for a job that was started before (--on processing; the id is what Ctrl-C said)' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l spark-submit -d 'Spark\'s launcher (--on spark; default: that of `SPARK_HOME`, on PATH, or of pyspark)' -r -F
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l spark-conf -d 'A setting of Spark, as spark.master=yarn (--on spark; default: this machine, all cores)' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l suggest -d 'Make a baseline from the data instead of checking it'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l merge -d 'DATA are profiles that --profile-out wrote, of parts of one data set'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l floor -d 'Read and split only: the floor of benches/validate.py'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l whole-files -d 'Read each CSV file in one piece: its fields hold line breaks (--on spark)'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand validate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand train" -l branch -d 'The branch (default: the one that is checked out)' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -s p -l parameter -d 'Set a parameter of the pipeline' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l data-version -d 'The version of the data set (default: the newest)' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand train" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand train" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand train" -l working-tree -d 'Take the pipeline definition from the working tree; the run is recorded as dirty'
complete -c mlops -n "__fish_mlops_using_subcommand train" -l detach -d 'Return when the run has started'
complete -c mlops -n "__fish_mlops_using_subcommand train" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand train" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand train" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand train" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand train" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -f -a "list" -d 'List the newest runs'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -f -a "show" -d 'Show a run: its steps, what it was made of, its parameters'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -f -a "logs" -d 'Print what the jobs of a run wrote'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and not __fish_seen_subcommand_from list show logs stop" -f -a "stop" -d 'Stop a run and its jobs'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l limit -d 'How many runs' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand runs; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -f -a "list" -d 'List the newest versions with their metrics'
complete -c mlops -n "__fish_mlops_using_subcommand models; and not __fish_seen_subcommand_from list show" -f -a "show" -d 'Show a version: what it was made of, its metrics, its artifact'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l limit -d 'How many versions' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand models; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand completions" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand completions" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand completions" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand completions" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand markdown-help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand analyze" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand job-process" -s h -l help -d 'Print help (see more with \'--help\')'
