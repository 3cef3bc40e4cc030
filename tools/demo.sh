#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows jobctl at work: two real ext4 images are backed up as one group, over two I/O threads; then a
# member that fails takes its group along; then an image is mirrored while clients write to it, and what they wrote is
# proved; then a daemon does such things, and is watched from outside. No root, no mount.
#
# usage: tools/demo.sh [JOBCTL [JOBCORED]]     (otherwise the paths are taken from $JOBCTL and $JOBCORED)
set -euo pipefail

jobctl=$(realpath "${1:-${JOBCTL:?usage: tools/demo.sh JOBCTL JOBCORED}}")
jobcored=$(realpath "${2:-${JOBCORED:?usage: tools/demo.sh JOBCTL JOBCORED}}")
PATH=$PATH:/usr/sbin:/sbin  # mke2fs and e2fsck, also for those who are not root

work=$(mktemp -d "${TMPDIR:-/tmp}/jobcore-demo.XXXXXX")
daemon=
trap '[[ -z $daemon ]] || kill "$daemon" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"

title() { printf '\n== %s\n\n' "$*"; }
run() {
  printf '$ %s\n' "$*"
  "$@"
}
fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}
ok() { printf '  ok: %s\n' "$*"; }

# image NAME DIR: an ext4 file system with up to 20,000 small files of DIR.
image() {
  mkdir "tree-$1"
  # Not head: it would end before sort does, where there are more.
  find "$2" -type f -readable -size -256k | sort | sed -n '1,20000p' |
    tar -cf - --files-from=- 2>/dev/null | tar -xf - -C "tree-$1"
  mke2fs -q -t ext4 -d "tree-$1" "$1.img" 512M >/dev/null
  printf '  %s.img: %s of 512M allocated; %d files of %s\n' "$1" "$(du -h "$1.img" | cut -f1)" \
    "$(find "tree-$1" -type f | wc -l)" "$2"
  rm -rf "tree-$1"
}

no_temporary_files() {
  [[ -z $(find "$1" -name '.*.jobcore-*') ]] || fail "a temporary file was left in $1"
  ok "no temporary file is left"
}

title 'Two file systems, made of files of this machine'
image disk0 /usr/include
image disk1 /usr/share/doc

title 'One group, two I/O threads: both appear, or none'
mkdir backup
run "$jobctl" backup --group --iothreads 2 \
  disk0.img backup/disk0.img disk1.img backup/disk1.img
echo
for disk in disk0 disk1; do
  cmp $disk.img backup/$disk.img || fail "$disk differs"
  e2fsck -fn backup/$disk.img >fsck.log 2>&1 || fail "e2fsck: $(<fsck.log)"
  (($(stat -c %b backup/$disk.img) <= $(stat -c %b $disk.img) + 64)) || fail "$disk lost its holes"
  ok "$disk is identical, clean for e2fsck, and as sparse as its source"
done
no_temporary_files backup

title 'The same, but somebody else makes one target meanwhile'
mkdir again
command=("$jobctl" backup --group --iothreads 2 --finalize manual
         disk0.img again/disk0.img disk1.img again/disk1.img)
printf '$ %s\n' "${command[*]}"
coproc "${command[@]}" 2>&1
jobctl_pid=$COPROC_PID
exec {answer}>&"${COPROC[1]}" {output}<&"${COPROC[0]}"
while read -r line <&$output; do
  printf '%s\n' "$line"
  if [[ $line == 'finalize '* ]]; then
    run sh -c 'echo precious >again/disk1.img'
    echo y
    echo y >&$answer
  fi
done
status=0
wait "$jobctl_pid" || status=$?
echo
((status == 1)) || fail "exit status $status instead of 1"
ok "jobctl exited with 1"
[[ ! -e again/disk0.img ]] || fail "disk0 was committed without disk1"
ok "disk0, which had been copied without fault, did not appear either"
[[ $(<again/disk1.img) == precious ]] || fail "somebody else's file was touched"
ok "somebody else's disk1 is untouched"
no_temporary_files again

title 'A mirror: four clients go on writing to the image, and are switched over to the copy'
cp --sparse=always disk1.img busy.img  # a rehearsal destroys what is in it
command=("$jobctl" mirror --writers 4 --ledger ledger --complete manual busy.img mirror.img)
printf '$ %s\n' "${command[*]}"
coproc "${command[@]}" 2>&1
jobctl_pid=$COPROC_PID
exec {answer}>&"${COPROC[1]}" {output}<&"${COPROC[0]}"
while read -r line <&$output; do
  printf '%s\n' "$line"
  if [[ $line == *behind && -n $answer ]]; then  # it has been ready for a while
    echo y
    echo y >&$answer
    exec {answer}>&-
    answer=
  fi
done
wait "$jobctl_pid" || fail "exit status $?"
echo
# Not by the process that wrote, and not only by the program that did.
run "$jobctl" verify mirror.img ledger || fail 'an acknowledged write is lost'
! "$jobctl" verify busy.img ledger >/dev/null 2>&1 || fail 'the clients were not switched over'
ok "nothing that was acknowledged is lost, and the last writes are in the copy only"
crc_of() {  # as gzip computes it, of the block at that offset
  dd if=mirror.img bs=4096 skip=$(($1 / 4096)) count=1 status=none | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' '
}
checked=0
while read -r offset number crc; do
  [[ $(crc_of "$offset") == "$crc" ]] || fail "write $number, at $offset, is not there"
  ((++checked))
done < <(grep -v '^#' ledger | sort -k2n | tail -20)
ok "gzip finds the checksums of the last $checked blocks, too"

title 'A daemon: two backups of one moment, and a mirror, watched by a client'
node() {
  printf '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "%s", ' "$1"
  printf '"file": {"driver": "file", "filename": "%s.img"}}}\n' "$1"
}
for i in 0 1 2; do truncate -s 512M copy$i.img; done
for name in disk0 copy0 disk1 copy1 busy copy2; do node $name; done >nodes.json
run head -2 nodes.json
printf '$ jobcored --qmp unix:monitor.sock --config nodes.json &\n'
"$jobcored" --qmp unix:monitor.sock --config nodes.json --pidfile pid &
daemon=$!
for ((tries = 0; tries < 200; ++tries)); do
  [[ -s pid ]] && break  # it can be used
  sleep 0.05
done
client=("$jobctl" --connect monitor.sock)
run "${client[@]}" backup --group --speed 80m disk0 copy0 disk1 copy1
run "${client[@]}" mirror --speed 100m busy copy2
run "${client[@]}" watch --complete copy0 copy1 copy2
for i in 0 1; do cmp disk$i.img copy$i.img || fail "disk$i differs"; done
cmp busy.img copy2.img || fail 'the mirror differs'
ok 'all three copies are as their sources'
run "${client[@]}" trace trace.json
ok "$(wc -c <trace.json) bytes for ui.perfetto.dev"
kill "$daemon"
wait "$daemon" || fail "jobcored: exit status $?"
daemon=
ok 'the daemon has ended as it was told to'

title 'That is all'
