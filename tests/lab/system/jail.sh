# bectl jail: an environment as a contained system, with a command and booted, and its end.
# Sourced by tests/lab/run, which defines `stage`: one boot of the same disk each.
# shellcheck shell=bash

stage boot-1 700 <<'GUEST' || return
for tool in bectl beadm; do ln -s "$(command -v beadm-rs)" /usr/local/sbin/$tool; done
stderr=/run/lab/result/stderr
jail() { bectl jail "$@" </dev/null 2>$stderr; }
status() { "$@" >/dev/null 2>$stderr; echo $?; }
mounted() { bectl list -H | awk '$1 == "new" { print $3 }'; }
machines() { machinectl list --no-legend | awk '{ print $1 }'; }
everything() {
    # systemd-nspawn leaves a place of its own where it is ended while it starts.
    findmnt -rno TARGET,SOURCE | grep -v '^/run/systemd/nspawn/'
    zfs list -H -o name -t all -r rpool
    machines
}
check "there are environments" bectl check
check_is "create says nothing" "" bectl create -r new
everything >/run/before
check_is "a command runs in it, under the environment's name" new jail new hostname
check_is "or under another" other jail -o name=m -o host.hostname=other new hostname
check_is "its exit status is the command's" 7 status jail new sh -c 'exit 7'
check_is "it has all of its datasets" "$(stat -fc %T /var)" jail new stat -fc %T /var
check_is "a network of its own has a loopback device alone" lo jail -o vnet=new new ls /sys/class/net
check_is "no disk is in it" "" jail new sh -c 'ls /dev | grep -E "^(vd|zd|zfs)"'
check_is "what has no counterpart ends it" 1 status jail -o ip4.addr=10.0.0.2 new true
check_is "and is named" "bectl jail: these parameters have no counterpart in systemd-nspawn: ip4.addr=10.0.0.2" cat $stderr
left() { everything | diff /run/before -; }
check_is "nothing of all that is left" "" left
check_is "with -U it stays mounted" 0 status jail -U new true
check_is "where it was" /run/beadm-rs/mnt/new mounted
check "and unjail unmounts it" bectl unjail new
check_is "it runs at another place, and the way there is made" 0 status jail -o path=/mnt/a/b new touch /etc/touched
check "what it does stays in the environment" sh -c 'd=$(bectl mount new) && test -e "$d/etc/touched" && bectl umount new'

check_is "it boots, and says nothing" "" bectl jail -b new
check_is "as a machine" running machinectl show new -p State --value
comes_up() {
    for _ in $(seq 90); do
        state=$(systemctl -M new is-system-running 2>/dev/null)
        case $state in running | degraded) return 0 ;; esac
        sleep 1
    done
    echo "$state"
    return 1
}
check "and comes up" comes_up
check_is "it is not destroyed meanwhile" 6 status bectl destroy new
check "it is ended" bectl ujail new
check_is "and unmounted" - mounted
check_is "and is no machine any more" "" machines
check_is "a second time there is none" 1 status bectl ujail new
check "it starts again" bectl jail -b new
leader() { machinectl show new -p Leader --value; }
check "and ends by its first process" bectl unjail "$(leader)"
check_is "with nothing left" "" left

chrooted() { printf 'echo inside\nexit 3\n' | beadm chroot new 2>/dev/null; echo $?; }
check_is "chroot is a shell in it" $'inside\n3' chrooted
rm /usr/local/sbin/bectl /usr/local/sbin/beadm
check "nothing keeps it in use" beadm-rs destroy -y new
finish poweroff
GUEST
