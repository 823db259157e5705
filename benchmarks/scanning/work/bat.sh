# starts: usr/bin/less
printf 'import os\n\n\ndef f(a: int) -> str:\n    return f"{a}" # comment\n' >some.py
seq 500 >numbers
"$PROGRAM" --paging=never --color=always --style=full some.py
"$PROGRAM" --paging=never --line-range 10:12 numbers some.py
"$PROGRAM" --list-languages | head -n 3
"$PROGRAM" --list-themes --color=never | wc -l
"$PROGRAM" -l json --color=always <<'END'
{"a": [1, 2]}
END
"$PROGRAM" none || echo "ended with $?"
