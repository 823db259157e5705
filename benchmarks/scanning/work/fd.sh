# starts: usr/bin/basename usr/bin/ls
mkdir -p a/b/c .hidden
for n in 1 2 3 4 5; do echo $n >a/b/file$n.txt; echo $n >.hidden/f$n; done
echo 'file1*' >.fdignore
ln -s a link
"$PROGRAM" | sort
"$PROGRAM" -H -e txt -j 4 | sort
"$PROGRAM" -L -t l -t f . link | sort
"$PROGRAM" -l file2 | wc -l
"$PROGRAM" --size +0b --changed-within 1h -x basename | sort
"$PROGRAM" -0 file3 -X basename
"$PROGRAM" none -q || echo "ended with $?"
