// Random answers of planners and critics, well-formed or damaged.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace irt::test {

// The seed of every property below; printed with what failed.
inline constexpr std::uint64_t kSeed = 20260613;

class RandomAnswer {
 public:
  explicit RandomAnswer(std::uint64_t seed) : random_(seed) {}

  std::string plan();
  std::string verdict();
  // Some bytes deleted, doubled, replaced, inserted, or the tail cut off.
  std::string damage(std::string text);
  // A number in [0, n).
  std::size_t below(std::size_t n) { return random_() % n; }

 private:
  bool chance(std::size_t percent) { return below(100) < percent; }
  std::string_view pick(std::string_view alternatives);
  std::string expand(std::string_view text);

  std::mt19937_64 random_;
  int number_ = 1;  // of the next step
};

}  // namespace irt::test
