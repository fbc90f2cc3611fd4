#!/usr/bin/env bash
# Installs the build into a scratch prefix and uses it from outside. usage: run.sh CASE SOURCE BUILD SCRATCH CMAKE
set -euo pipefail
case_name=$1 source=$2 build=$3 scratch=$4 cmake=$5
model=$source/models/tiny-sdar
strict=(-std=c99 -pedantic -Wall -Wextra -Werror)
rm -rf "$scratch"; mkdir -p "$scratch"; cd "$scratch"
install_it() { "$cmake" --install "$build" --prefix "$scratch/prefix" >/dev/null; }
libdir() { dirname "$(find "$scratch/prefix" -name 'libdiffulex.so' | head -n1)"; }

case $case_name in
  pkg-config)
    install_it
    export PKG_CONFIG_PATH; PKG_CONFIG_PATH=$(libdir)/pkgconfig
    [ "$(pkg-config --modversion diffulex)" = "$("$cmake" -L -N "$build" 2>/dev/null | sed -n 's/^CMAKE_PROJECT_VERSION[^=]*=//p' || true)" ] ||
      pkg-config --modversion diffulex | grep -qE '^[0-9]+\.[0-9]+\.[0-9]+$'
    mv prefix moved && mv moved prefix  # the .pc file must not depend on where it was configured
    # shellcheck disable=SC2046
    cc "${strict[@]}" "$source/tests/install/consumer.c" $(pkg-config --cflags --libs diffulex) -o consumer
    LD_LIBRARY_PATH=$(libdir) ./consumer "$model" ;;
  find_package)
    install_it
    mkdir program && cat > program/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.25)
project(outside C)
find_package(diffulex 0.1 REQUIRED)
add_executable(consumer $source/tests/install/consumer.c)
target_link_libraries(consumer PRIVATE diffulex::diffulex)
EOF
    "$cmake" -S program -B out -G Ninja -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_C_FLAGS="${strict[*]}" >/dev/null
    "$cmake" --build out >/dev/null
    ./out/consumer "$model" ;;
  add_subdirectory)
    mkdir program && cat > program/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.25)
project(outside C CXX)
add_subdirectory($source diffulex)
add_executable(consumer $source/tests/install/consumer.c)
target_link_libraries(consumer PRIVATE diffulex::diffulex)
EOF
    launcher=(); command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
    "$cmake" -S program -B out -G Ninja -DCMAKE_BUILD_TYPE=Release -DDIFFULEX_CUDA=OFF "${launcher[@]}" >/dev/null
    "$cmake" --build out >/dev/null
    ./out/consumer "$model" ;;
  symbols)
    install_it
    nm -D --defined-only "$(libdir)/libdiffulex.so" | awk '{print $3}' > symbols
    grep -q '^diffulex_engine_create' symbols
    if grep -vE '^diffulex_[a-z0-9_]+(@@DIFFULEX_[0-9.]+)?$|^DIFFULEX_[0-9.]+$' symbols; then
      echo "the library exports more than diffulex_*" >&2; exit 1
    fi
    # Everything that the header declares is there.
    grep -oE '\bdiffulex_[a-z0-9_]+\(' "$source/include/diffulex.h" | tr -d '(' | sort -u > declared
    sed 's/@.*//' symbols | sort -u > defined
    comm -23 declared defined > absent
    if [ -s absent ]; then echo "declared and not exported:" >&2; cat absent >&2; exit 1; fi
    readelf -d "$(libdir)/libdiffulex.so" | grep -q 'SONAME.*libdiffulex.so.0.1' ;;
  silent)
    install_it
    cc -std=gnu99 -Wall -Wextra -Werror "$source/tests/install/silent.c" -I"$scratch/prefix/include" -L"$(libdir)" -ldiffulex -o silent
    export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(libdir)
    ./silent "$model" closed
    ./silent "$model" open >stdout 2>stderr
    [ ! -s stdout ] && [ ! -s stderr ] ;;
  header)
    echo '#include <diffulex.h>' > header.c
    for std in c99 c11; do cc -std=$std -pedantic -Wall -Wextra -Werror -Wpadded -I"$source/include" -fsyntax-only header.c; done
    for std in c++11 c++17 c++20; do c++ -std=$std -pedantic -Wall -Wextra -Werror -x c++ -I"$source/include" -fsyntax-only header.c; done ;;
  command)
    install_it
    export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(libdir)
    diffulex=$scratch/prefix/bin/diffulex
    "$diffulex" generate -m "$model" -p "Sort the list: 9, 3, 5" --json > out.json 2>err
    python3 -c 'import json; d = json.load(open("out.json")); assert d["text"] == "3, 5, 9", d; assert d["finish"] == "eos" and d["steps"] > 0'
    [ ! -s err ]
    [ "$("$diffulex" generate -m "$model" -p "Sort the list: 9, 3, 5" --view plain 2>/dev/null)" = "3, 5, 9" ]
    "$diffulex" inspect -m "$model" --json | python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["plan"]["kv_pages"] > 0'
    "$diffulex" inspect >/dev/null
    "$diffulex" inspect --options-markdown > options.md
    diff "$source/docs/configuration.md" options.md
    "$diffulex" bench -m "$model" --requests 2 --max-tokens 16 --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["tokens"] == 32'
    printf 'Sort the list: 9, 3, 5\n/quit\n' | "$diffulex" chat -m "$model" | grep -q '3, 5, 9'
    if "$diffulex" generate -m /nowhere -p x 2>err; then exit 1; fi
    grep -q '/nowhere' err
    if "$diffulex" frobnicate 2>/dev/null; then exit 1; fi ;;
  *) echo "no such case" >&2; exit 2 ;;
esac
