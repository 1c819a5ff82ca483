# What the scripts of servers share. A script defines `ready` (does it answer?) and `launch` (start it in the background), sets
# `folder`, and ends with `obey NAME`: then commands come on standard input, one a line; the end of the input ends the server.
#   kill    as a crash does (SIGKILL)      start   again, and wait until it takes connections
#   pause   as a machine that hangs        go      on
# It ends by SIGINT unless the script sets `end`, and leaves no file in its folder behind. Each command is answered on standard output, by `killed`, `ready`, `paused`, `going`.
pid=
# Whether something takes connections at PORT; for those that say no more about themselves.
takes_connections() { bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null; }
start() {
    tries=0
    until ready; do
        # After a crash its children may hold on to the port and the memory for a moment.
        if [ -z "$pid" ] || ! kill -0 "$pid" 2>/dev/null; then
            launch
            pid=$!
        fi
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { echo "$1 did not start:"; cat "$folder/log"; exit 1; }
        sleep 0.05
    done
    echo ready
}
go() {
    kill -CONT "$pid" 2>/dev/null || true
    pkill -CONT -P "$pid" || true
}
stop() {
    if [ -n "$pid" ]; then
        kill "-$1" "$pid" 2>/dev/null || true
        go
        # One that does not end as it is told is not waited for.
        ( sleep 5; kill -KILL "$pid" 2>/dev/null ) >/dev/null 2>&1 &
        killer=$!
        wait "$pid" 2>/dev/null || true
        kill "$killer" 2>/dev/null || true
        pid=
    fi
}
pause() {
    kill -STOP "$pid"
    pkill -STOP -P "$pid" || true
    # Every thread and child of it, in its own time.
    while { ps -L -o state= -p "$pid"; ps -o state= --ppid "$pid"; } | grep -qv T; do sleep 0.02; done
}
obey() {
    # A test's statics are never dropped, and would leave the files of each run behind.
    trap 'stop "${end:-INT}"; cd /; rm -rf "$folder"' EXIT
    start "$1"
    while read -r command; do
        case $command in
            kill) stop KILL; echo killed ;;
            start) start "$1" ;;
            pause) pause; echo paused ;;
            go) go; echo going ;;
        esac
    done
}
