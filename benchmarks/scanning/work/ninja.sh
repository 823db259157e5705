# starts: usr/bin/dash usr/bin/cat usr/bin/cp usr/bin/sleep
cat >build.ninja <<'END'
rule copy
  command = cat $in > $out
rule slow
  command = sleep 0.2 && cp $in $out
  depfile = $out.d
  deps = gcc
rule fails
  command = exit 3
build a: copy in
build b: slow in
build c: copy a b | in
build d: fails in
default c
END
echo some >in
"$PROGRAM" -j 3 -v 2>&1 | sort
"$PROGRAM"
touch in
"$PROGRAM" -d explain 2>/dev/null | tail -n 1
"$PROGRAM" d || echo "ended with $?"
"$PROGRAM" -t graph | grep -c label
"$PROGRAM" -t clean
