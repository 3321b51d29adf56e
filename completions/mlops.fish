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
complete -c mlops -n "__fish_mlops_needs_command" -f -a "config" -d 'Show the configuration'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "local" -d 'Run and manage the local cloud'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "markdown-help" -d 'Print the command reference in Markdown'
complete -c mlops -n "__fish_mlops_needs_command" -f -a "job-process" -d 'Enter a job\'s namespaces and become its program'
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
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l profile -d 'The profile of your AWS configuration' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l region -d 'The AWS region' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l endpoint-url -d 'Send every request to this endpoint' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l output -d 'How the result is printed' -r -f -a "human\t'Tables and sentences for people'
json\t'One JSON document for scripts'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l poll-interval -d 'Time between two looks at remote work, in seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l timeout -d 'Give up waiting for remote work after this many seconds' -r
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -l local -d 'Use the local cloud: its endpoint and its dummy credentials'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -s q -l quiet -d 'Print the result and errors only'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -s v -l verbose -d 'Print details of what is done'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -s y -l yes -d 'Go ahead without asking'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -f -a "start" -d 'Run a local cloud until Ctrl-C'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -f -a "stop" -d 'End the local cloud; what it keeps stays'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -f -a "status" -d 'Say whether a local cloud runs, and where'
complete -c mlops -n "__fish_mlops_using_subcommand local; and not __fish_seen_subcommand_from start stop status reset" -f -a "reset" -d 'End the local cloud and remove everything it keeps'
complete -c mlops -n "__fish_mlops_using_subcommand local; and __fish_seen_subcommand_from start" -l port -d 'The port to listen on; 0 takes any that is free' -r
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
