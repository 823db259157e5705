# starts: usr/bin/git
export GH_TOKEN=none GH_NO_UPDATE_NOTIFIER=1 GIT_CONFIG_GLOBAL="$PWD/gitconfig"
echo '{"login": "some", "number": 42, "list": [1, 2, 3]}' >answer
python3 -m http.server --bind 127.0.0.1 8081 >/dev/null 2>&1 &
server=$!
wait_for curl -sf http://127.0.0.1:8081/answer
"$PROGRAM" --version | head -n 1 | cut -d ' ' -f 1-3
"$PROGRAM" config set git_protocol ssh
"$PROGRAM" config set editor vi
"$PROGRAM" config list
"$PROGRAM" alias set some 'issue list'
"$PROGRAM" alias set --shell other 'echo shell'
"$PROGRAM" alias list
"$PROGRAM" alias delete some 2>&1
"$PROGRAM" completion -s bash | cksum
"$PROGRAM" help reference | cksum
"$PROGRAM" api http://127.0.0.1:8081/answer --jq '.list | add'
"$PROGRAM" api --cache 1h -i http://127.0.0.1:8081/answer --template '{{.login}} {{.number}}' | tail -n 1
"$PROGRAM" api -X POST -f a=b http://127.0.0.1:8081/answer 2>/dev/null | grep -c 501
git init -q repository
cd repository
git remote add origin https://github.com/some/other
"$PROGRAM" extension list
"$PROGRAM" browse -n 2>/dev/null || echo "ended with $?"
"$PROGRAM" issue list 2>/dev/null || echo "ended with $?"
"$PROGRAM" auth status >/dev/null 2>&1 || echo "ended with $?"
kill $server
