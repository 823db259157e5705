"$PROGRAM"
"$PROGRAM" --version
