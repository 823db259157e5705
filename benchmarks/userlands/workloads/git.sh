# A repository's life: commits, merges, a clone, a collection of garbage.
set -e
export HOME=/job GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git config --global user.name Someone; git config --global user.email someone@example.org
git config --global init.defaultBranch main; git config --global gc.auto 0; git config --global maintenance.auto false
git config --global protocol.file.allow always; git config --global advice.detachedHead false
git init -q one; cd one; git symbolic-ref HEAD refs/heads/main
i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "text $i" >file$i; done; mkdir deep; cp file1 deep/
git add .; git commit -q -m first; echo more >>file1; git commit -q -a -m second
git checkout -q -b side HEAD~1; echo side >file2; git commit -q -a -m side; git checkout -q main; git merge -q -m merge side
git tag -a -m tag v1; echo wip >>file3; git stash -q; git stash pop -q; git status --short; git diff --stat
git checkout -q -- file3; git mv file4 moved; git commit -q -m moved; git grep -c 'text 1' -- file1 file10 moved
git log --format='%H %s'; git repack -q -a -d; git gc -q --prune=now; git fsck --no-progress
cd ..; git clone -q file:///job/one two; git clone -q --no-hardlinks one three; cd two; echo pushed >>file5; git commit -q -a -m pushed; git push -q origin HEAD:pushed
git -C ../one rev-parse pushed; git -C ../three fetch -q; git archive HEAD deep | tar -t; git worktree add -q ../tree; ls ../tree | wc -l
