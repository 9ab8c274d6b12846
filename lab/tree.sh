# shellcheck shell=bash
# Sourced by the init of lab/enter, inside its namespaces, where LAB_ROOT names a Debian tree (tools/install trixie):
# makes a mount namespace whose root is that tree; LAB_TREE names it for `nsenter --mount`. See lab/tree.py.
#
# A chroot would do for the server, but not for an agent beside it: /proc/PID/cwd of a chrooted process starts with the
# tree's path. After pivot_root it is spelled as the server spells it, as it is with a container.

[[ -x $LAB_ROOT/usr/sbin/mariadbd ]] || { echo "lab/enter: no mariadbd in LAB_ROOT=$LAB_ROOT" >&2; exit 125; }

scratch=$LAB_DIR/.tree
mkdir "$scratch"
mount -t tmpfs -o mode=0755 lab-tree "$scratch"
mkdir "$scratch"/{upper,work,root}

# The namespace lives as long as a process in it. (`unshare --mount=FILE` would keep it without one, but fails by chance.)
# shellcheck disable=SC2016
exec {ready}< <(exec unshare --mount bash -euc '
    # An overlay: the tree itself is never written to, so that two runs can use it at once and nothing is left behind.
    mount -t overlay -o "lowerdir=$LAB_ROOT,upperdir=$1/upper,workdir=$1/work" lab-tree "$1/root"
    cd "$1/root"
    mkdir -p ".$LAB_DIR" .outside
    mount --bind "$LAB_DIR" ".$LAB_DIR"
    mount --rbind /proc proc
    mount --rbind /dev dev
    pivot_root . .outside
    cd /
    umount --lazy /.outside
    rmdir /.outside
    echo $$
    exec sleep infinity >/dev/null' tree "$scratch")
read -r holder <&"$ready" || exit 125
exec {ready}<&-
export LAB_TREE=/proc/$holder/ns/mnt
