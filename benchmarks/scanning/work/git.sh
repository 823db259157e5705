# starts: usr/bin/dash
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.email GIT_CONFIG_VALUE_0=a@b.c
export GIT_CONFIG_KEY_1=user.name GIT_CONFIG_VALUE_1=a
"$PROGRAM" init -q -b main one
cd one
for number in 1 2 3; do
    seq "$number" 2000 >numbers
    "$PROGRAM" add .
    "$PROGRAM" commit -q -m "commit $number"
done
"$PROGRAM" switch -q -c other HEAD~1
echo other >file
"$PROGRAM" add file
"$PROGRAM" commit -q -m other
"$PROGRAM" switch -q main
"$PROGRAM" merge -q -m merged other
"$PROGRAM" --no-pager log --oneline --stat
"$PROGRAM" repack -q -a -d
"$PROGRAM" status --short --branch
"$PROGRAM" grep -c 19
cd ..
"$PROGRAM" clone -q one two 2>&1
"$PROGRAM" -C two fsck --no-progress
"$PROGRAM" -C two archive HEAD | cksum
"$PROGRAM" -C two -c core.pager=cat diff HEAD~2 | cksum
"$PROGRAM" -C two stash list
"$PROGRAM" -C two gc -q --no-detach
cd two
"$PROGRAM" worktree add -q -b tree ../tree
"$PROGRAM" -C ../tree blame -s numbers | tail -n 1
echo more >>numbers
"$PROGRAM" stash -q
"$PROGRAM" stash pop -q
"$PROGRAM" commit -q -a -m more
"$PROGRAM" format-patch -q -1 -o ..
"$PROGRAM" -C ../tree am -q ../0001-more.patch
"$PROGRAM" bundle create -q ../bundle main
"$PROGRAM" bundle verify -q ../bundle
"$PROGRAM" rebase -q HEAD~1
"$PROGRAM" fast-export main >../exported
"$PROGRAM" init -q --bare ../three
"$PROGRAM" -C ../three fast-import --quiet <../exported
"$PROGRAM" push -q ../three HEAD:pushed
"$PROGRAM" -C ../three log --format=%s -1 pushed
"$PROGRAM" fetch -q ../three pushed
"$PROGRAM" tag -a -m tagged v1
"$PROGRAM" describe
"$PROGRAM" clean -qfdx
"$PROGRAM" update-index --test-untracked-cache 2>/dev/null | tail -n 1
