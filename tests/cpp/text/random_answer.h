// Random answers of planners and critics, well-formed or damaged.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

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
  std::string frame(const std::string& answer);
  std::string space();
  std::string quoted(const std::string& raw);
  std::string words();
  std::string text_or_null();
  std::string boolean();
  std::string anything(int depth);
  std::string step(int number);
  // Members in any order, perhaps with a trailing comma.
  std::string object(std::vector<std::string> members);
  std::string list(const std::vector<std::string>& elements);
  std::string member(const std::string& key, const std::string& value);

  std::mt19937_64 random_;
};

}  // namespace irt::test
