// Milliseconds of one draw from the logits of a large vocabulary, of this thread's processor time:
//   bench_sampler [vocabulary=151936] [--check]
// --check: exits with 1 where the median of a draw with top_k is above 0.15 ms, or with top_p alone
// above 1 ms. The logits are those of a language model in shape: noise, and a few hundred peaks.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string_view>
#include <vector>

#include "models/sampler.h"

namespace {

double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double median_draw(const std::vector<float>& logits, irt::SamplingParams params) {
  std::vector<double> times;
  std::int64_t drawn = 0;  // printed, so that the draws are not optimised away
  for (std::uint64_t index = 0; index < 201; ++index) {
    const double begin = now();
    drawn += irt::sample(logits, params, index);
    times.push_back(now() - begin);
  }
  std::ranges::nth_element(times, times.begin() + 100);
  std::printf("temperature %.1f, top_k %d, top_p %.2f: %.3f ms (%lld)\n",
              static_cast<double>(params.temperature), params.top_k,
              static_cast<double>(params.top_p), times[100], static_cast<long long>(drawn));
  return times[100];
}

}  // namespace

int main(int argc, char** argv) {
  const bool check = argc > 1 && std::string_view(argv[argc - 1]) == "--check";
  const std::size_t size = argc - check > 1 ? std::strtoull(argv[1], nullptr, 10) : 151936;
  if (size == 0) return 2;
  std::minstd_rand random(1);
  std::normal_distribution<float> noise(-3.0F, 2.0F);
  std::vector<float> logits(size);
  for (float& value : logits) value = noise(random);
  for (int peak = 0; peak < 400; ++peak) {
    logits[random() % size] = 20.0F - 0.03F * static_cast<float>(peak);
  }
  const double both = median_draw(logits, {0.7F, 20, 0.8F, 1});
  const double nucleus = median_draw(logits, {0.7F, 0, 0.8F, 1});
  median_draw(logits, {0.7F, 0, 1.0F, 1});
  return check && (both > 0.15 || nucleus > 1.0) ? 1 : 0;
}
