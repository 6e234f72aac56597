// The scanners against the slow, obvious reader: whole, in pieces, byte by byte, and in prefixes.
//
// Input: a byte of switches (1: verdict, 2: guidance mode, then the limit of steps), a seed of the
// cuts, then the text.
#include <exception>
#include <string_view>
#include <utility>

#include "fuzz.h"
#include "text/random_answer.h"
#include "text/scanner_law.h"

namespace {

constexpr std::size_t kHeader = 2;
constexpr std::size_t kPrefixes = 6;  // compared of one text, about

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace irt::test;
  if (size < kHeader || size > irt::fuzz::max_size()) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + kHeader, size - kHeader);
  // Cuts that depend on the input alone.
  std::uint64_t state = data[1] * 2U + 1;
  const Cuts cuts{[&state](std::size_t bound) {
                    state = state * 6364136223846793005U + 1442695040888963407U;
                    return static_cast<std::size_t>(state >> 33) % bound;
                  },
                  1 + text.size() / kPrefixes};
  try {
    if ((data[0] & 1) != 0) {
      check_verdict(text, cuts);
    } else {
      check_plan(text, 1 + (data[0] >> 2) % 25, (data[0] & 2) != 0 ? 0 : 1, cuts);
    }
  } catch (const std::exception& broken) {
    irt::fuzz::expect(false, broken.what());
  }
  return 0;
}

std::vector<std::string> irt::fuzz::seeds() {
  irt::test::RandomAnswer random(irt::test::kSeed);
  std::vector<std::string> seeds;
  for (int i = 0; i < 400; ++i) {
    const bool is_verdict = i % 2 == 1;
    std::string text = is_verdict ? random.verdict() : random.plan();
    if (i % 4 >= 2) text = random.damage(std::move(text));
    const auto switches = static_cast<char>((is_verdict ? 1 : 0) | (i % 3 == 0 ? 2 : 0) | (12));
    seeds.push_back(std::string{switches, static_cast<char>(i)} + text);
  }
  return seeds;
}

std::size_t irt::fuzz::max_size() { return 1024; }
