# A tree copied, changed and copied again.
set -e
mkdir -p from/deep; i=0; while [ $i -lt 50 ]; do i=$((i+1)); seq $i >from/file$i; done; ln -s file1 from/link; ln from/file2 from/hard; chmod 640 from/file3; touch -d @1 from/file5
rsync -aH from/ to/; seq 100 >from/file1; rm from/file7; rsync -aHi --delete --checksum from/ to/ | sort; rsync -rlptz --inplace --backup --suffix=~ from/ to/; stat -c '%n %a' to/file3; stat -c %Y to/file5; diff -r from to && echo same
