# Ansible: its module beadm, as it is, reading what illumos' beadm prints and what FreeBSD's does; and the
# playbook that upgrades machines one after another, on simulated machines of which the second falls back,
# and on this one. Ansible comes from PyPI. With --long only. Sourced by tests/lab/run, which defines `stage`.
# shellcheck shell=bash

[ -n "${BEADM_RS_LONG:-}" ] || return 0

install_ansible "$SCENARIO_DIR/ansible" || {
    echo "test system::ansible::Ansible is there ... FAILED"
    return 1
}
cp -r system/ansible "$SCENARIO_DIR/ansible/lab"
cp -r "$PROJECT_DIR/dist/ansible" "$SCENARIO_DIR/ansible/dist"
ext4_image "$SCENARIO_DIR/ansible" "$SCENARIO_DIR/ansible.img" 300M lab-ansible
qemu-img convert -q -f raw -O qcow2 "$SCENARIO_DIR/ansible.img" "$SCENARIO_DIR/ansible.qcow2"
SCENARIO_DISKS+=(ansible)

# What the stages share.
ansible_job() {
    cat <<'GUEST'
mkdir -p /opt/ansible
mount -o ro /dev/disk/by-id/virtio-ansible /opt/ansible
export PYTHONPATH=/opt/ansible ANSIBLE_COLLECTIONS_PATH=/opt/ansible HOME=/root PYTHONDONTWRITEBYTECODE=1
export ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false
# playbook NAME ARGUMENT…: its output is a result, and its recap is printed.
playbook() {
    local name=$1 status
    shift
    python3 -m ansible playbook "$@" >"/run/lab/result/$name" 2>&1
    status=$?
    sed -n '/^PLAY RECAP/,$p' "/run/lab/result/$name" >&3
    return $status
}
exec 3>&1
GUEST
    cat
}

stage boot-1 1500 < <(ansible_job <<'GUEST'
cp /job/bin/beadm-rs /usr/sbin/
ln -s beadm-rs /usr/sbin/beadm
check "the module, which reads what illumos' beadm prints" playbook illumos /opt/ansible/lab/beadm.yml -e '{"illumos": true}'
check_is "only what was there is left" "debian" sh -c 'zfs list -H -o name -d 1 rpool/ROOT | tail -n +2 | xargs -n 1 basename'
# On FreeBSD the name is that of a tool which prints what bectl does.
rm /usr/sbin/beadm
mkdir -p /root/freebsd
printf '#!/bin/sh\nexec /usr/sbin/beadm-rs bectl "$@"\n' >/root/freebsd/beadm
chmod +x /root/freebsd/beadm
cat >/root/freebsd/sitecustomize.py <<'PYTHON'
import os
machine = os.uname
os.uname = lambda: os.uname_result(("FreeBSD",) + tuple(machine())[1:])
PYTHON
check "the module, which reads what FreeBSD's prints" env PATH="/root/freebsd:$PATH" PYTHONPATH=/root/freebsd:/opt/ansible \
    bash -c "$(declare -f playbook); exec 3>&1; playbook freebsd /opt/ansible/lab/beadm.yml -e '{\"illumos\": false}'"
check_is "only what was there is left of that" "debian" sh -c 'zfs list -H -o name -d 1 rpool/ROOT | tail -n +2 | xargs -n 1 basename'

# Three simulated machines with something to upgrade, of which the second falls back.
cd /root
for name in one two three; do
    beadm-rs demo /root/$name >/dev/null
    beadm-rs --sim /root/$name destroy -y upgrade 2>/dev/null
    root=/root/$name/root
    var=/root/$name/data/$(python3 -c 'import json, sys; print(json.load(sys.stdin)["datasets"]["rpool/ROOT/debian/var"]["tree"])' </root/$name/state.json)
    mkdir -p $root/usr/bin $var/lib/dpkg /root/$name/repository/var/lib/dpkg
    echo program >$root/usr/bin/apt-get
    printf 'Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n' >$var/lib/dpkg/status
    sed s/1$/2/ $var/lib/dpkg/status >/root/$name/repository/var/lib/dpkg/status
    echo "$name ansible_connection=local ansible_python_interpreter=/usr/bin/python3 upgrade_program='[\"beadm-rs\", \"--sim\", \"/root/$name\"]'"
done >/root/inventory
sed -i '/^two /s/$/ falls_back=true/' /root/inventory
upgrade() { playbook "$1" -i /root/inventory /opt/ansible/dist/upgrade.yml -e upgrade_reboot_tasks=/opt/ansible/lab/restart.yml -e upgrade_name=next -e upgrade_confirm_timeout=20 "${@:2}"; }
runs() { for name in one two three; do beadm-rs --sim /root/$name -H status | sed -n 's/^running\t//p'; done | xargs; }
# outcome NAME ARGUMENT…: how the playbook ended, and what the three run then.
outcome() {
    upgrade "$@" >/dev/null
    echo $? $(runs)
}
check_is "a limit is the first machine alone" "0 next debian debian" outcome limited --limit one
check_is "the second falls back, which ends it before the third" "2 next debian debian" outcome stopped
check "it says why no further machine is upgraded" grep -q 'no further machine is upgraded' /run/lab/result/stopped
check_is "the third was not looked at" 0 sh -c "sed '/^PLAY RECAP/,\$d' /run/lab/result/stopped | grep -c '\[three\]'"
sed -i 's/falls_back=true//' /root/inventory
beadm-rs --sim /root/two destroy -y next >/dev/null 2>&1
check_is "the same command again goes on with the others" "0 next next next" outcome again
sed -i 's/Version: 2/Version: 3/' /root/one/repository/var/lib/dpkg/status
check_is "where a probe fails the machine is failed back" "2 next next next" outcome probed --limit one -e upgrade_name=more \
    -e '{"upgrade_probe": ["false"]}'

# This machine, whose restart is the job's.
echo 'here ansible_connection=local ansible_python_interpreter=/usr/bin/python3' >/root/here
check "the playbook up to the restart" playbook here -i /root/here /opt/ansible/dist/upgrade.yml --tags upgrade -e upgrade_name=next \
    -e '{"upgrade_command": ["touch", "/upgraded"], "upgrade_options": ["--no-check"]}'
check_is "the new one boots next" rpool/ROOT/next zpool get -H -o value bootfs rpool
finish reboot
GUEST
) || return

stage boot-2 600 < <(ansible_job <<'GUEST'
check "and after it" playbook here-after -i /root/here /opt/ansible/dist/upgrade.yml --tags verify -e upgrade_name=next -e upgrade_confirm_timeout=60
check "another name is not what runs" sh -c '! python3 -m ansible playbook -i /root/here /opt/ansible/dist/upgrade.yml --tags verify -e upgrade_name=other -e upgrade_confirm_timeout=60' 
finish poweroff
GUEST
)
