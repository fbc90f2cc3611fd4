# Thin targets over CMake presets. See CMakePresets.json.
MODEL   := models/tiny-sdar
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc)
QUESTION := Rosa has 5 boxes with 12 apples in each box. Rosa gives 18 of them to Ben. Then Rosa finds 7 more at the park. How many apples does Rosa have now?

.PHONY: demo test mutants bench lint install test-gpu sanitize-gpu bench-gpu soak fuzz-schedule valgrind asan ubsan tsan release setup clean

setup:
	@scripts/setup

release: setup
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release -j$(JOBS)

# Only what the demo runs: the library and the command.
demo: setup
	@cmake --preset release --log-level=WARNING
	@cmake --build --preset release -j$(JOBS) --target diffulex_command
	@build/release/tools/diffulex/diffulex generate -m $(MODEL) --buffer-blocks 4 --strategy-set accept_threshold=0.9 -p "$(QUESTION)"

test: release
	@ctest --preset release

# Brings every corrected defect back, one by one, and expects the tests to notice.
mutants: setup
	@JOBS=$(JOBS) scripts/mutants

bench: release
	@build/release/bench/diffulex_bench_host
	@build/release/bench/diffulex_bench_cpu 0.6b 1.7b
	@build/release/tools/diffulex/diffulex bench -m $(MODEL) --buffer-blocks 4

# Random schedules over a scripted backend, far beyond those of `make test`. FROM names the first world.
REQUESTS ?= 1000000
FROM     ?= 1000000000
fuzz-schedule: release
	@DIFFULEX_FUZZ_REQUESTS=$(REQUESTS) DIFFULEX_FUZZ_SEED=$(FROM) \
	  build/release/tests/diffulex_unit_tests --gtest_filter='ScheduleFuzz.*'

# A long and unkind run through the public API; ends with 1 when the books do not balance.
SECONDS ?= 300
DEVICE  ?= cpu
SEED    ?= 1
soak: release
	@build/release/bench/diffulex_soak $(MODEL) --device $(DEVICE) --seconds $(SECONDS) --seed $(SEED)

lint: release
	@scripts/setup --lint
	@scripts/lint

# The C examples leave nothing behind.
valgrind: release
	@scripts/setup --valgrind
	@for example in generate blocks; do \
	  valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 \
	    build/release/examples/example_$$example $(MODEL) "Sort these numbers from smallest to largest: 41, 7" \
	    >/dev/null || exit $$?; \
	  echo "example_$$example: no leak, no error"; \
	done

install: release
	@cmake --install build/release --prefix $(PREFIX)

asan ubsan tsan: setup
	@cmake --preset $@ --log-level=WARNING
	@cmake --build --preset $@ -j$(JOBS)
	@ctest --preset $@

# Needs a CUDA device; builds with nvcc.
test-gpu: setup
	@cmake --preset release --log-level=WARNING -DDIFFULEX_CUDA=ON
	@cmake --build --preset release -j$(JOBS) --target diffulex_gpu_decide_test diffulex_gpu_chain_test diffulex_gpu_attention_test diffulex_gpu_product_test diffulex_gpu_rotated_test diffulex_gpu_invariant_test diffulex_gpu_families_test diffulex_gpu_device_test diffulex_api_tests
	@build/release/cuda/diffulex_gpu_decide_test
	@build/release/cuda/diffulex_gpu_chain_test
	@build/release/cuda/diffulex_gpu_attention_test
	@build/release/cuda/diffulex_gpu_product_test
	@build/release/cuda/diffulex_gpu_rotated_test
	@build/release/bench/diffulex_gpu_families_test
	@build/release/bench/diffulex_gpu_invariant_test
	@build/release/cuda/diffulex_gpu_device_test models/tiny-sdar
	@DIFFULEX_TEST_DEVICE=cuda:0 build/release/tests/diffulex_api_tests --gtest_brief=1

# compute-sanitizer over the engine's tests on a device. For races without recorded steps, and where tests take many of them in
# small ones: it keeps what it sees, and took 126 GB for one test.
SANITIZED_TARGETS := diffulex_api_tests diffulex_gpu_attention_test diffulex_gpu_rotated_test
WATCHED := Engine.CommittedTextOnlyGrows:Engine.EventsAddUp:Engine.OutputsDoNotDependOnDeviceSteps:Engine.PrefixCaching*:Engine.Abort*:Engine.SeedsReproduce*:Engine.ThreadModeServesManyThreads:*BatchedTokens*
RACED := Engine.PrefixCaching*:Engine.AbortKeeps*
RACED_SMALL := Engine.CommittedTextOnlyGrows
sanitize-gpu: setup
	@cmake --preset release --log-level=WARNING -DDIFFULEX_CUDA=ON
	@cmake --build --preset release -j$(JOBS) --target $(SANITIZED_TARGETS)
	@compute-sanitizer --tool memcheck --error-exitcode 9 build/release/cuda/diffulex_gpu_attention_test warpgroups
	@compute-sanitizer --tool racecheck --error-exitcode 9 build/release/cuda/diffulex_gpu_attention_test warpgroups
	@compute-sanitizer --tool racecheck --error-exitcode 9 build/release/cuda/diffulex_gpu_rotated_test
	@DIFFULEX_TEST_DEVICE=cuda:0 compute-sanitizer --tool memcheck --error-exitcode 9 build/release/tests/diffulex_api_tests --gtest_brief=1 --gtest_filter='$(WATCHED)'
	@DIFFULEX_TEST_DEVICE=cuda:0 DIFFULEX_TEST_OPTIONS=cuda_graphs=false compute-sanitizer --tool racecheck --error-exitcode 9 build/release/tests/diffulex_api_tests --gtest_brief=1 --gtest_filter='$(RACED)'
	@DIFFULEX_TEST_DEVICE=cuda:0 DIFFULEX_TEST_OPTIONS=cuda_graphs=false,device_steps=1,max_requests=2,max_batched_tokens=128 compute-sanitizer --tool racecheck --error-exitcode 9 build/release/tests/diffulex_api_tests --gtest_brief=1 --gtest_filter='$(RACED_SMALL)'

# Steps and first tokens beside their floors: a table, and JSON in build/bench-gpu.json. With libcupti.so.13 in the
# loader's path it also tells kernels apart. BENCH_GPU takes options, e.g. BENCH_GPU="--cases 1.7b:32x4x16 --no-trace".
bench-gpu: setup
	@cmake --preset release --log-level=WARNING -DDIFFULEX_CUDA=ON
	@cmake --build --preset release -j$(JOBS) --target diffulex_bench_gpu
	@build/release/bench/diffulex_bench_gpu --json build/bench-gpu.json $(BENCH_GPU)

clean:
	@rm -rf build
