// Generates tests/data/policy-cases.json.gz: 1,000 cases of policy evaluation with the decisions of
// @cloud-copilot/iam-simulate, against which a test of crates/local-cloud/src/policy.rs compares its own.
//
//     node tools/policy_cases.mjs NODE_MODULES            # with the packages of tests/conformance/policy
//     node tools/policy_cases.mjs NODE_MODULES --check    # exits 1 if the file is out of date
//
// The cases are random but always the same. Not generated, because there the simulator does not follow the IAM user
// guide (unit tests have these cases):
// - a session policy with a resource-based policy that names the session, which is then not limited by it ("Session
//   policies");
// - `ForAnyValue:…IfExists` for an absent key ("IfExists": true);
// - a wildcard or a variable before the first slash or colon of an ARN's resource (the guide allows both after the
//   fifth colon, and API Gateway's examples have wildcards there);
// - `0.0.0.0/0`, which contains no address there (JavaScript shifts by 32 bits as by 0);
// - dates as seconds since the epoch, which the simulator compares with milliseconds.

import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'

const COUNT = 1000
const TARGET = join(dirname(fileURLToPath(import.meta.url)), '../tests/data/policy-cases.json.gz')
const modules = resolve(process.argv[2] ?? '')
const require = createRequire(join(modules, 'x.js'))
const { runSimulation } = await import(pathToFileURL(require.resolve('@cloud-copilot/iam-simulate')))

// mulberry32: the same numbers everywhere.
let state = 20261129
function random() {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}
const chance = (probability) => random() < probability
const pick = (values) => values[Math.floor(random() * values.length)]
const some = (values, most) => Array.from({ length: 1 + Math.floor(random() * most) }, () => pick(values))

const ACCOUNT = '111122223333'
const ROLE = `arn:aws:iam::${ACCOUNT}:role/scientist`
const SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/scientist/ana`
const USER = `arn:aws:iam::${ACCOUNT}:user/ana`
const ROOT = `arn:aws:iam::${ACCOUNT}:root`
const at = (service, resource) => `arn:aws:${service}:us-east-1:${ACCOUNT}:${resource}`

// Actions with resources, and the condition keys that only they have.
const CALLS = [
  ['s3:GetObject', ['arn:aws:s3:::data-blue/in/a.csv', 'arn:aws:s3:::data-red/in/b.csv'], {}],
  ['s3:PutObject', ['arn:aws:s3:::data-blue/out/model.tar.gz'], { 's3:x-amz-server-side-encryption': ['aws:kms', 'AES256'] }],
  ['s3:DeleteObjectVersion', ['arn:aws:s3:::data-blue/in/a.csv'], {}],
  ['s3:ListBucket', ['arn:aws:s3:::data-blue', 'arn:aws:s3:::data-red'], { 's3:prefix': ['in/', 'out/', ''], 's3:max-keys': ['10', '1000'] }],
  ['s3:ListAllMyBuckets', ['*'], {}],
  ['sagemaker:CreateTrainingJob', [at('sagemaker', 'training-job/blue-1'), at('sagemaker', 'training-job/red-1')],
    { 'sagemaker:InstanceTypes': [['ml.m5.large'], ['ml.m5.large', 'ml.p3.2xlarge']], 'sagemaker:MaxRuntimeInSeconds': ['60', '3600'],
      'aws:RequestTag/team': ['blue', 'red'], 'aws:TagKeys': [['team'], ['team', 'cost']] }],
  ['sagemaker:UpdateModelPackage', [at('sagemaker', 'model-package/blue/1')], { 'sagemaker:ModelApprovalStatus': ['Approved', 'Rejected'] }],
  ['kms:Decrypt', [at('kms', 'key/1234abcd-12ab-34cd-56ef-1234567890ab')], { 'kms:ViaService': ['s3.us-east-1.amazonaws.com'] }],
  ['kms:ListKeys', ['*'], {}],
  ['ecr:PutImage', [at('ecr', 'repository/blue/train'), at('ecr', 'repository/red')], {}],
  ['codecommit:GitPush', [at('codecommit', 'blue-ml')], { 'codecommit:References': ['refs/heads/main', 'refs/heads/dev'] }],
  ['iam:PassRole', [`arn:aws:iam::${ACCOUNT}:role/team/train`], { 'iam:PassedToService': ['sagemaker.amazonaws.com', 'lambda.amazonaws.com'] }],
  ['logs:PutLogEvents', [at('logs', 'log-group:/aws/blue:log-stream:a')], {}],
  ['ssm:GetParameter', [at('ssm', 'parameter/blue/image')], {}],
  ['lambda:InvokeFunction', [at('lambda', 'function:blue')], {}],
  ['sts:AssumeRole', [`arn:aws:iam::${ACCOUNT}:role/approver`], { 'sts:ExternalId': ['x-1', 'y'] }],
  ['ec2:DescribeVpcs', ['*'], {}],
]
const WITH_RESOURCE_POLICY = new Set(['s3', 'kms', 'ecr', 'lambda', 'sts', 'sagemaker'])

// Keys of every request, and the values that policies compare with them.
const GLOBAL = {
  'aws:SourceIp': ['10.1.2.3', '192.168.1.7', '2001:db8::7'],
  'aws:CurrentTime': ['2026-11-29T12:00:00Z', '2025-01-01T00:00:00Z'],
  'aws:SecureTransport': ['true', 'false'],
  'aws:PrincipalTag/team': ['blue', 'red', 'b*'],
  'aws:PrincipalArn': [ROLE, USER],
  'aws:username': ['ana', 'data-blue'],
  'aws:userid': ['AROAX:ana'],
  'aws:RequestedRegion': ['us-east-1', 'eu-west-1'],
  'aws:MultiFactorAuthAge': ['60', '7200'],
  'aws:PrincipalOrgPaths': [['o-1/r-1/ou-1/'], ['o-1/r-1/ou-1/', 'o-1/r-1/ou-2/']],
}
const CONDITIONS = [
  ['IpAddress', 'aws:SourceIp', ['10.0.0.0/8', '192.168.0.0/16', '2001:db8::/32', '10.1.2.3']],
  ['NotIpAddress', 'aws:SourceIp', ['10.0.0.0/8', '192.0.0.0/4']],
  ['DateLessThan', 'aws:CurrentTime', ['2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z']],
  ['DateGreaterThanEquals', 'aws:CurrentTime', ['2026-01-01T00:00:00Z', '2026-11-29T13:00:00+01:00']],
  ['DateEquals', 'aws:CurrentTime', ['2026-11-29T12:00:00Z', '2025-01-01']],
  ['DateNotEquals', 'aws:CurrentTime', ['2026-11-29T12:00:00Z']],
  ['Bool', 'aws:SecureTransport', ['true', 'false']],
  ['StringEquals', 'aws:PrincipalTag/team', ['blue', 'red', 'BLUE', 'b*']],
  ['StringEquals', 'AWS:principaltag/TEAM', ['blue']],
  ['StringNotEquals', 'aws:PrincipalTag/team', ['blue', 'green']],
  ['StringEqualsIgnoreCase', 'aws:PrincipalTag/team', ['BLUE', 'Red']],
  ['StringNotEqualsIgnoreCase', 'aws:PrincipalTag/team', ['BLUE']],
  ['StringLike', 'aws:PrincipalTag/team', ['b*', '?ed', 'b${*}', '*']],
  ['StringNotLike', 'aws:PrincipalTag/team', ['b*', 'x?']],
  ['StringEquals', 'aws:RequestTag/team', ['${aws:PrincipalTag/team}', 'blue', '${aws:PrincipalTag/none}']],
  ['StringNotEquals', 'aws:RequestTag/team', ['${aws:PrincipalTag/team}', '${aws:PrincipalTag/none}']],
  ['ArnLike', 'aws:PrincipalArn', ['arn:aws:iam::*:role/*', `arn:aws:iam::${ACCOUNT}:user/\${aws:username}`, 'arn:*:iam::*:*/ana']],
  ['ArnEquals', 'aws:PrincipalArn', [ROLE, 'arn:aws:iam::*:role/scient?st']],
  ['ArnNotLike', 'aws:PrincipalArn', ['arn:aws:iam::*:role/*']],
  ['ArnNotEquals', 'aws:PrincipalArn', [USER]],
  ['StringLike', 'aws:userid', ['*:ana', 'AROA?:*', '*:bob']],
  ['NumericLessThan', 'aws:MultiFactorAuthAge', ['3600']],
  ['NumericGreaterThanEquals', 'aws:MultiFactorAuthAge', ['60', '7200.0']],
  ['NumericEquals', 's3:max-keys', ['10', '10.0']],
  ['NumericNotEquals', 's3:max-keys', ['10']],
  ['NumericLessThanEquals', 'sagemaker:MaxRuntimeInSeconds', ['60', '100']],
  ['Null', 'aws:MultiFactorAuthAge', ['true', 'false']],
  ['Null', 'aws:TagKeys', ['true', 'false']],
  ['ForAnyValue:StringLike', 'aws:PrincipalOrgPaths', ['o-1/r-1/ou-2/*', 'o-1/*', 'o-2/*']],
  ['ForAllValues:StringLike', 'aws:PrincipalOrgPaths', ['o-1/r-1/ou-1/*', 'o-1/*']],
  ['ForAllValues:StringEquals', 'aws:TagKeys', ['team', 'cost']],
  ['ForAnyValue:StringEquals', 'aws:TagKeys', ['cost']],
  ['ForAllValues:StringNotEquals', 'aws:TagKeys', ['cost']],
  ['ForAnyValue:StringNotEquals', 'aws:TagKeys', ['team']],
  ['StringEquals', 'aws:TagKeys', ['team']],
  ['ForAllValues:StringEquals', 'aws:PrincipalTag/team', ['blue']],
  ['ForAnyValue:StringLike', 'sagemaker:InstanceTypes', ['ml.p3.*', 'ml.m5.*']],
  ['StringEquals', 'sagemaker:ModelApprovalStatus', ['Approved']],
  ['StringEquals', 'iam:PassedToService', ['sagemaker.amazonaws.com']],
  ['StringLike', 'codecommit:References', ['refs/heads/main', 'refs/heads/*']],
  ['StringLike', 's3:prefix', ['in/*', '${aws:username}/*', '']],
  ['StringEquals', 's3:x-amz-server-side-encryption', ['aws:kms']],
  ['StringNotEquals', 's3:x-amz-server-side-encryption', ['aws:kms']],
  ['StringEquals', 'sts:ExternalId', ['x-1']],
  ['StringEquals', 'kms:ViaService', ['s3.us-east-1.amazonaws.com']],
]

function conditions() {
  const element = {}
  for (const [operator, key, values] of some(CONDITIONS, 2)) {
    const name = !operator.includes(':') && operator !== 'Null' && chance(0.2) ? `${operator}IfExists` : operator
    element[name] = { ...element[name], [key]: chance(0.6) ? pick(values) : some(values, 2) }
  }
  return element
}

function actions(action) {
  const [service, name] = action.split(':')
  const near = [action, action, `${service}:*`, `${service}:${name.slice(0, 3)}*`, `${service}:?${name.slice(1)}`, '*', action.toUpperCase().replace(/^[^:]*/, service)]
  const far = ['ec2:RunInstances', 's3:Get*', 'iam:*', `${service}:Delete*`, 'sagemaker:*']
  return chance(0.75) ? some(near, 2) : some([...near, ...far], 3)
}

function resources(resource) {
  if (resource === '*') return chance(0.8) ? '*' : ['arn:aws:s3:::data-blue', 'arn:aws:s3:::data-*']
  const head = resource.split(':').slice(0, 5).join(':')
  const rest = resource.split(':').slice(5).join(':')
  const prefix = rest.match(/^[^/:]*[/:]/)?.[0] ?? ''
  const tail = rest.slice(prefix.length)
  // What has no type, and is not a bucket, has no variables.
  const isTyped = prefix !== '' || head.startsWith('arn:aws:s3:')
  const variables = [
    `${head}:${rest.replace('blue', '${aws:PrincipalTag/team}')}`,
    `${head}:${rest.replace('blue', "${aws:PrincipalTag/none, 'blue'}")}`,
    `${head}:${rest.replace('data-blue', '${aws:username}')}`,
  ]
  const near = [
    resource,
    '*',
    ...(isTyped ? variables : []),
    `${head}:${prefix}*`,
    `${head}:${prefix}${tail.slice(0, 2)}*`,
    `${head}:${prefix}${tail.slice(0, -1)}?`,
    `${head.replace(ACCOUNT, '*').replace('us-east-1', '*')}:${rest}`,
  ]
  const far = ['arn:aws:s3:::data-red/*', 'arn:aws:sagemaker:*:*:model/*', `${resource}/x`, ...(isTyped ? [`${head}:${prefix}\${aws:PrincipalTag/none}`] : [])]
  return chance(0.75) ? some(near, 2) : some([...near, ...far], 3)
}

function statement(action, resource, principals) {
  const made = { Effect: chance(0.8) ? 'Allow' : 'Deny' }
  if (principals) {
    const named = { AWS: some(principals, 2) }
    const choices = [['Principal', named], ['Principal', named], ['Principal', named], ['Principal', '*'], ['Principal', { Service: 's3.amazonaws.com' }]]
    const [name, value] = made.Effect === 'Deny' && chance(0.3) ? ['NotPrincipal', named] : pick(choices)
    made[name] = value
  }
  made[chance(0.9) ? 'Action' : 'NotAction'] = actions(action)
  const isTrust = principals && action.startsWith('sts:')
  if (!isTrust) made[chance(0.9) ? 'Resource' : 'NotResource'] = resources(resource)
  if (chance(0.45)) made.Condition = conditions()
  return made
}

const policy = (...of) => ({ Version: '2012-10-17', Statement: Array.from({ length: 1 + Math.floor(random() * 3) }, () => statement(...of)) })

function context(own) {
  const all = {}
  for (const [key, values] of Object.entries({ ...GLOBAL, ...own })) {
    if (chance(0.8)) all[key] = pick(values)
  }
  return all
}

function makeCase() {
  const [action, targets, own] = pick(CALLS)
  const resource = pick(targets)
  const isSession = chance(0.75)
  const made = {
    principal: isSession ? SESSION : USER,
    action,
    resource,
    context: context(own),
    identity: Array.from({ length: Math.floor(random() * 3) + (chance(0.9) ? 1 : 0) }, () => policy(action, resource)),
  }
  if (chance(0.3)) made.boundary = policy(action, resource)
  if (isSession && chance(0.25)) made.session = policy(action, resource)
  if (WITH_RESOURCE_POLICY.has(action.split(':')[0]) && resource !== '*' && chance(0.7)) {
    const names = [ROLE, ROOT, ACCOUNT, 'arn:aws:iam::999999999999:root', `arn:aws:iam::${ACCOUNT}:role/other`, USER]
    made.resourcePolicy = policy(action, resource, made.session ? names : [...names, SESSION])
  }
  return made
}

async function decide(made) {
  const named = (policies) => policies.map((policy, index) => ({ name: `p${index}`, policy }))
  const simulation = {
    request: {
      principal: made.principal,
      action: made.action,
      resource: { resource: made.resource, accountId: ACCOUNT },
      contextVariables: made.context,
    },
    identityPolicies: named(made.identity),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: made.resourcePolicy,
    permissionBoundaryPolicies: made.boundary && named([made.boundary]),
    sessionPolicy: made.session,
  }
  // Without control policies everything is allowed by them.
  const everything = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } }
  simulation.serviceControlPolicies = [{ orgIdentifier: 'o-1', policies: [{ name: 'all', policy: everything }] }]
  simulation.resourceControlPolicies = [{ orgIdentifier: 'o-1', policies: [] }]
  const result = await runSimulation(simulation, {})
  if (result.resultType === 'error') throw new Error(JSON.stringify([made, result.errors], null, 1))
  for (const key of result.result.ignoredContextKeys) delete made.context[key]
  return result.overallResult
}

const cases = []
const counts = {}
while (cases.length < COUNT) {
  const made = makeCase()
  made.decision = await decide(made)
  counts[made.decision] = (counts[made.decision] ?? 0) + 1
  cases.push(made)
}
const text = `[\n${cases.map((made) => JSON.stringify(made)).join(',\n')}\n]\n`
if (process.argv.includes('--check')) {
  if (gunzipSync(readFileSync(TARGET)).toString() !== text) {
    console.log('out of date: policy-cases.json.gz')
    process.exit(1)
  }
} else {
  writeFileSync(TARGET, gzipSync(text, { level: 9 }))
  console.log(`wrote policy-cases.json.gz: ${JSON.stringify(counts)}`)
}
