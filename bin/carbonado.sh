#!/bin/sh
# The launcher, as operators of WSO2 Data Analytics Server know it.
#
#   carbonado.sh [start|stop|restart|version|run] [-receiverNode|-indexerNode|-analyzerNode|-dashboardNode] [-Dname=value ...]
#
# Words may stand in any order, with or without dashes (start, -start, --start). Without one of the first, or with run, the
# server runs in the foreground. Everything else goes to `carbonado server`, in the background too.
#
# Exit status: 0 done, or already running; 1 failed; 64 the command line is wrong; in the foreground that of the server. A server
# that exits with 121 is started again.
#
# Environment: CARBON_HOME (the installation; a symbolic link is kept as it is; default: the folder above this script's), JAVA_OPTS
# (its -Dname=value are used, the rest has no effect), JVM_MEM_OPTS (no effect).

RESTART_STATUS=121
STOP_SECONDS=120 # that a stop waits for the server: more than its drain deadlines
START_TENTHS=100 # of a second that a start waits for the process to be there

say() { echo "$*" >&2; }

usage() {
    cat <<'TEXT'
Usage: carbonado.sh [command] [node] [-Dname=value ...]

Commands:
  start      start in the background
  stop       ask the running server to end
  restart    stop, wait for the end, start in the background
  version    print the version
  run        run in the foreground (also without a command)

Nodes: -receiverNode, -indexerNode, -analyzerNode, -dashboardNode; none is all in one.

Options:
  -Ddisable<Component>=true|false   switch a component off or on; see `carbonado plan`
  -DenableAnalyticsStats=true       statistics of queries
  -DportOffset=<offset>             moves every port
TEXT
}

# home sets CARBON_HOME: as given, or the folder above this script's, every link followed.
home() {
    [ -n "$CARBON_HOME" ] && return
    script=$0
    while [ -h "$script" ]; do
        target=$(readlink "$script")
        case $target in
        /*) script=$target ;;
        *) script=$(dirname "$script")/$target ;;
        esac
    done
    CARBON_HOME=$(cd -P "$(dirname "$script")/.." && pwd) || exit 1
}

# command_of prints the command line of a process; nothing if there is none.
command_of() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null
    elif [ ! -d /proc/self ]; then
        ps -p "$1" -o command= 2>/dev/null
    fi
}

# running sets pid to that of the running server and succeeds, or removes what an earlier one left and fails. A process that
# merely got the same number since is not taken for the server.
running() {
    pid=
    [ -f "$PID_FILE" ] || return 1
    pid=$(head -n 1 "$PID_FILE" 2>/dev/null)
    case $pid in
    '' | *[!0-9]*) ;;
    *)
        case $(command_of "$pid") in
        *carbonado*) kill -0 "$pid" 2>/dev/null && return 0 ;;
        esac
        ;;
    esac
    say "The pid file $PID_FILE is stale (process ${pid:-without a number}); it is removed."
    rm -f "$PID_FILE"
    return 1
}

# forget removes the pid file if it still names a process.
forget() {
    if [ "$(cat "$PID_FILE" 2>/dev/null)" = "$1" ]; then rm -f "$PID_FILE"; fi
}

# pause waits for a tenth of a second, or a second where sleep knows only whole ones.
pause() { sleep 0.1 2>/dev/null || sleep 1; }

# forward passes a signal that this shell got to the server.
forward() {
    interrupted=yes
    [ -n "$server" ] && kill -TERM "$server" 2>/dev/null
}

# run runs the server until it ends with another status than RESTART_STATUS, and exits with that. The server is a background job
# of this shell, so that a signal to the shell is not held back until the server ends.
run() {
    server=
    trap forward TERM INT HUP
    while :; do
        interrupted=no
        "$BINARY" server "$@" <&0 &
        server=$!
        echo "$server" >"$PID_FILE" || say "The pid file $PID_FILE cannot be written."
        while :; do
            wait "$server"
            status=$?
            [ "$interrupted" = yes ] || break
            interrupted=no
        done
        forget "$server"
        if [ "$status" -ne "$RESTART_STATUS" ] || [ "$ONCE" = yes ]; then
            exit "$status"
        fi
    done
}

# check ends the start where the command line is wrong, before anything goes to the background.
check() {
    complaint=$("$BINARY" plan "$@" 2>&1 >/dev/null)
    if [ $? -eq 64 ]; then
        say "$complaint"
        exit 64
    fi
}

# start runs this script in the background and waits until the server's process is there.
start() {
    if running; then
        echo "Process is already running"
        exit 0
    fi
    check "$@"
    mkdir -p "$CARBON_HOME/repository/logs" || exit 1
    out=$CARBON_HOME/repository/logs/carbonado.out
    JAVA_OPTS='' JVM_MEM_OPTS='' nohup sh "$CARBON_HOME/bin/carbonado.sh" run "$@" </dev/null >"$out" 2>&1 &
    runner=$!
    n=0
    while [ ! -s "$PID_FILE" ]; do
        n=$((n + 1))
        if ! kill -0 "$runner" 2>/dev/null || [ "$n" -gt "$START_TENTHS" ]; then
            say "The server did not start; see $out:"
            tail -n 20 "$out" >&2
            exit 1
        fi
        pause
    done
    exit 0
}

# end tells the server to stop and waits until it has: a start right after a stop must not find it still there.
end() {
    kill -TERM "$pid"
    n=0
    while kill -0 "$pid" 2>/dev/null; do
        n=$((n + 1))
        if [ "$n" -gt $((STOP_SECONDS * 10)) ]; then
            say "Process $pid did not end within $STOP_SECONDS seconds."
            exit 1
        fi
        pause
    done
    forget "$pid"
}

stop() {
    if running; then
        end
    else
        echo "Process is not running"
    fi
}

restart() {
    if running; then
        end
    fi
    start "$@"
}

home
export CARBON_HOME
if ! cd "$CARBON_HOME"; then
    say "CARBON_HOME=$CARBON_HOME is no folder."
    exit 1
fi
PID_FILE=$CARBON_HOME/carbonado.pid
BINARY=$CARBON_HOME/bin/carbonado
ONCE=no
if [ ! -x "$BINARY" ]; then
    say "There is no $BINARY. Build it with \`make build\`, or set CARBON_HOME to an installation."
    exit 1
fi

# Definitions in JAVA_OPTS come first, so that those on the command line have the last word. The words of the command line move
# round once: those for this script drop out.
COMMAND=
count=$#
[ -n "$JVM_MEM_OPTS" ] && say "JVM_MEM_OPTS has no effect: there is no JVM. Memory is set per component, in its component.yaml."
for word in $JAVA_OPTS; do
    case $word in
    -D?*) set -- "$@" "$word" ;;
    *) say "$word in JAVA_OPTS has no effect: there is no JVM." ;;
    esac
done
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    -D*) set -- "$@" "$word" ;;
    --debug | -debug | debug)
        say "$word is not supported: there is no JVM to debug. Attach a debugger to a component's process instead;"
        say "\`carbonado component ls\` prints its pid."
        exit 64
        ;;
    --start | -start | start | --stop | -stop | stop | --restart | -restart | restart | --version | -version | version | --run | -run | run)
        name=${word#-}
        name=${name#-}
        if [ -n "$COMMAND" ] && [ "$COMMAND" != "$name" ]; then
            say "Two commands are named: $COMMAND and $name."
            exit 64
        fi
        COMMAND=$name
        ;;
    test) ONCE=yes ;;
    -X* | -agentlib:* | -agentpath:* | -javaagent:* | -verbose* | -ea | -da | -esa | -dsa | -server | -client | -d64)
        say "$word has no effect: there is no JVM."
        ;;
    *[Cc][Ll][Ee][Aa][Nn][Rr][Ee][Gg][Ii][Ss][Tt][Rr][Yy])
        say "$word has no effect: there is no registry database to clean."
        ;;
    -*[Hh][Ee][Ll][Pp])
        usage
        exit 0
        ;;
    *) set -- "$@" "$word" ;;
    esac
done

case $COMMAND in
start) start "$@" ;;
stop) stop ;;
restart) restart "$@" ;;
version) exec "$BINARY" version ;;
*)
    if running; then
        echo "Process is already running"
        exit 0
    fi
    run "$@"
    ;;
esac
