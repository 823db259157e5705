# An archive of files of several kinds, compressed by several threads, and unpacked.
set -e
mkdir -p tree/deep; i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo "text $i" >tree/file$i; done
ln -s file1 tree/link; ln tree/file2 tree/deep/hard; mkfifo tree/pipe; chmod 640 tree/file3; chmod 4755 tree/file4; touch -d @1 tree/file5
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf tree.tar tree; sha256sum tree.tar
XZ_OPT='-T2 --block-size=4096' tar -cJf tree.tar.xz tree; xz -t tree.tar.xz; gzip -k tree.tar; tar -tzf tree.tar.gz | wc -l
mkdir out; tar -xpJf tree.tar.xz -C out; stat -c '%n %a %F %s' out/tree/* | sort | tail -20; stat -c %Y out/tree/file5
mkdir again; tar -xf tree.tar -C again --keep-directory-symlink --no-same-owner; tar -df tree.tar -C again 2>/dev/null || echo differs; diff -r --no-dereference -x pipe out/tree/deep again/tree/deep && echo same
(sleep 0.3; cat tree.tar.xz) | xz -d | tar -t | wc -l # xz waits by poll
tar -uf tree.tar tree/file1; tar --delete -f tree.tar tree/file2; tar -tf tree.tar | wc -l; xz -dk -T2 -c tree.tar.xz | tar -t | wc -l
