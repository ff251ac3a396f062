#!/bin/sh
# Builds the seeds of the DWARF reader and the unwinder: one small program, in the ways that compilers and linkers write
# debug information. Run it by hand when the program changes; what it makes is kept in the repository.
set -eu
cd "$(dirname "$0")"
into=../corpus/dwarf
make() {
    name=$1
    shift
    rustc tiny.rs --edition 2024 -g -C panic=abort -C overflow-checks=off -C link-arg=-nostartfiles -C link-arg=-Wl,-z,norelro \
        -C link-arg=-Wl,-z,noseparate-code -C link-arg=-Wl,--build-id --remap-path-prefix "$PWD=/seed" -o "$into/$name" "$@"
}
make plain
make optimized -O
make dwarf5 -C dwarf-version=5
make dwarf5-optimized -C dwarf-version=5 -O
make compressed -C link-arg=-Wl,--compress-debug-sections=zlib
make lines-only -C debuginfo=1
make stripped -C strip=symbols

# Split debug information: the program is kept apart, as only what was split off is damaged.
split() {
    name=$1
    shift
    for kind in packed unpacked; do
        # Its name is written into the files.
        folder=/tmp/manta-seed
        mkdir "$folder"
        rustc tiny.rs --edition 2024 -g -C panic=abort -C overflow-checks=off -C link-arg=-nostartfiles -C link-arg=-Wl,-z,norelro \
            -C link-arg=-Wl,-z,noseparate-code -C link-arg=-Wl,--build-id --remap-path-prefix "$PWD=/seed" -C codegen-units=1 \
            -C "split-debuginfo=$kind" -o "$folder/$name" "$@"
        case $kind in
        packed) cp "$folder/$name.dwp" "../corpus/split/$name-packed" ;;
        unpacked) cp "$folder"/*.dwo "../corpus/split/$name-unpacked" ;;
        esac
        cp "$folder/$name" "../programs/$name-$kind"
        rm -r "$folder"
    done
}
mkdir -p ../corpus/split ../programs
split split
split split-dwarf5 -C dwarf-version=5
ls -l "$into" ../corpus/split ../programs
