mkdir -p some/.github/workflows
cat >some/.github/workflows/some.yml <<'END'
on: pull_request_target
jobs:
  some:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo ${{ github.event.pull_request.title }}
END
cat >some/action.yml <<'END'
name: some
runs:
  using: composite
  steps:
    - run: echo ${{ inputs.name }}
      shell: bash
END
z() { "$PROGRAM" --offline --no-progress --color=never "$@" 2>errors || echo "ended with $?"; }
z some
z --format=json --persona=auditor some/.github/workflows/some.yml | grep -c '"ident"'
z --format=sarif --min-severity=high some | grep -c ruleId
z --format=github some/action.yml
z --fix=all some | tail -n 1
cat some/.github/workflows/some.yml
z --pedantic --collect=workflows some | tail -n 1
z - <some/action.yml | tail -n 1
z none
"$PROGRAM" --completions=bash | wc -l
"$PROGRAM" --version
