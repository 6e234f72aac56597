// Sensitivity: every mistake of mutants.txt is found by the schedules of test_law1.
//   IRT_MUTANT=name: this one alone, with IRT_SEED, IRT_SCHEDULES and IRT_VERBOSE as in test_law1.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>
#include <iterator>

#include "mutants.h"
#include "random_schedule.h"

namespace irt::test {
namespace {

constexpr std::uint64_t kMost = 20'000;  // schedules until a mistake must have been found

struct Armed {
  explicit Armed(const Mutant& mutant) { active_mutant = mutant.number; }
  ~Armed() { active_mutant = 0; }
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;
};

TEST_CASE("without a mistake the same program finds nothing") {
  const Campaign campaign =
      run_schedules(env("IRT_SEED", 20260613), 3000, static_cast<unsigned>(env("IRT_JOBS", 1)));
  CHECK(campaign.problem == "");
  CHECK(campaign.totals.schedules == 3000);
}

TEST_CASE("every mistake is found") {
  static_assert(std::size(kMutants) >= 46);
  const std::uint64_t first = env("IRT_SEED", 20260613);
  const std::uint64_t most = env("IRT_SCHEDULES", kMost);
  const auto jobs = static_cast<unsigned>(env("IRT_JOBS", 1));
  const char* only = std::getenv("IRT_MUTANT");
  std::size_t found = 0;
  std::size_t tried = 0;
  std::printf("%-26s %9s  %s\n", "mutant", "schedules", "what was seen");
  for (const Mutant& mutant : kMutants) {
    if (only != nullptr && std::strcmp(only, mutant.name) != 0) continue;
    ++tried;
    const Armed armed(mutant);
    if (env("IRT_VERBOSE", 0) != 0 && most == 1) {
      Totals one;
      const auto log = [](const std::string& text) { std::fputs(text.c_str(), stdout); };
      std::printf("%s\n", run_schedule(first, one, log).c_str());
      continue;
    }
    const Campaign campaign = run_schedules(first, most, jobs);
    INFO(std::string(mutant.name), ": not found in ", most, " schedules");
    CHECK(campaign.problem != "");
    if (campaign.problem.empty()) continue;
    ++found;
    std::printf("%-26s %9llu  %s\n", mutant.name,
                static_cast<unsigned long long>(campaign.failed + 1), campaign.problem.c_str());
  }
  REQUIRE(tried > 0);
  std::printf(
      "%zu of %zu found; replay one: IRT_MUTANT=name IRT_SEED=%llu + schedules - 1 "
      "IRT_SCHEDULES=1 IRT_VERBOSE=1 test_mutants -tc='every*'\n",
      found, tried, static_cast<unsigned long long>(first));
}

}  // namespace
}  // namespace irt::test
