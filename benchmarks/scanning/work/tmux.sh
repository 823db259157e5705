# starts: usr/bin/dash usr/bin/sleep usr/bin/echo
export SHELL=/bin/sh
t() { "$PROGRAM" -S "$PWD/s" -f /dev/null "$@"; }
t new-session -d -x 80 -y 24 'echo hello; sleep 20'
t split-window 'echo second; sleep 20'
t new-window 'sleep 20'
wait_for sh -c '"$PROGRAM" -S s capture-pane -p -t 0.0 | grep hello'
t capture-pane -p -t 0.0 | head -n 1
t list-windows -F '#{window_index} #{window_panes}'
t set-buffer copied
t save-buffer file
cat file
t resize-window -x 100 -y 30 -t 0
t run-shell 'echo ran'
printf 'list-sessions -F "#{session_windows}"\ndetach\n' | t -C attach | grep -c '^%begin'
t kill-server
