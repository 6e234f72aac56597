// What a fuzz target defines. One file a target: fuzz_<what>.cpp; driver.cpp or libFuzzer runs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

// Returns 0. A broken promise ends the process: irt::fuzz::expect, or a sanitizer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace irt::fuzz {

// Inputs that reach deep: the driver mutates them, and writes them as libFuzzer's corpus.
[[nodiscard]] std::vector<std::string> seeds();

// Longest input that is worth its time.
[[nodiscard]] std::size_t max_size();

inline void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

}  // namespace irt::fuzz
