#!/bin/busybox sh
# The guest's first program: devices, modules, then /run.sh; the last line says how that ended.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "no module $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out
echo "root:x:0:0:root:/tmp:/bin/sh" > /etc/passwd
echo "127.0.0.1 localhost guest" > /etc/hosts
hostname guest
ip link set lo up
ulimit -l unlimited
cd /tmp
/bin/bash /run.sh
code=$?
sync
umount /out
echo
echo "softroce guest: exit $code"
poweroff -f
