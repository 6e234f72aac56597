#include "models/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "core/key.h"

namespace irt {
namespace {

constexpr std::size_t kLanes = 8;       // independent maxima, so that compilers vectorise the loop
constexpr std::size_t kBlock = 128;     // values that are looked at one by one or not at all
constexpr std::size_t kSamples = 1024;  // logits by which the border of a nucleus is guessed

struct Candidate {
  float logit = 0.0F;
  std::int32_t id = 0;
};

// Greatest first; ties: the lowest id first.
[[nodiscard]] bool before(const Candidate& a, const Candidate& b) noexcept {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Sorts candidates that stand in the order of their ids. Many: by digits of their bits, stably.
void sort(std::vector<Candidate>& candidates) {
  constexpr std::size_t kDigit = 11;
  constexpr std::size_t kValues = std::size_t{1} << kDigit;
  if (candidates.size() < kValues) {
    std::ranges::sort(candidates, before);
    return;
  }
  const auto bits = [](const Candidate& it) {  // greater logits have lesser bits
    const auto raw = std::bit_cast<std::uint32_t>(it.logit + 0.0F);  // -0 is 0
    return raw & 0x80000000U ? raw : raw ^ 0x7fffffffU;
  };
  thread_local std::vector<Candidate> sorted;
  sorted.resize(candidates.size());
  for (std::size_t shift = 0; shift < 32; shift += kDigit) {
    std::array<std::size_t, kValues> place{};
    const auto digit = [&](const Candidate& it) { return (bits(it) >> shift) % kValues; };
    for (const Candidate& it : candidates) ++place[digit(it)];
    std::exclusive_scan(place.begin(), place.end(), place.begin(), std::size_t{0});
    for (const Candidate& it : candidates) sorted[place[digit(it)]++] = it;
    candidates.swap(sorted);
  }
}

[[nodiscard]] float maximum(std::span<const float> values) noexcept {
  std::array<float, kLanes> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  for (; i < values.size(); ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  return std::ranges::max(lanes);
}

// The first `count` of all values by `before`, sorted. One pass: what is not above the least of
// those found so far is passed over, a block at a time; equal values of higher ids come later.
void greatest(std::span<const float> values, std::size_t count,
              std::vector<Candidate>& candidates) {
  const std::size_t room = std::max<std::size_t>(4 * count, 256);
  float least = -std::numeric_limits<float>::infinity();
  candidates.clear();
  const auto cut = [&] {
    const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(count);
    std::nth_element(candidates.begin(), middle - 1, candidates.end(), before);
    candidates.erase(middle, candidates.end());
    least = candidates.back().logit;
  };
  for (std::size_t first = 0; first < values.size(); first += kBlock) {
    const auto block = values.subspan(first, std::min(kBlock, values.size() - first));
    if (candidates.size() >= count && maximum(block) <= least) continue;
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] > least || candidates.size() < count) {
        candidates.push_back({block[i], static_cast<std::int32_t>(first + i)});
      }
    }
    if (candidates.size() >= room) cut();
  }
  if (candidates.size() > count) cut();
  std::ranges::sort(candidates, before);
}

[[nodiscard]] double weight_of(float logit, float highest, const SamplingParams& params) {
  return std::exp((static_cast<double>(logit) - highest) / static_cast<double>(params.temperature));
}

// How many candidates top_k and top_p leave: the first ones, with their weights.
[[nodiscard]] std::size_t truncate(std::vector<Candidate>& candidates, std::vector<double>& weights,
                                   const SamplingParams& params, float highest) {
  const std::size_t kept = candidates.size();
  weights.resize(kept);
  double total = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    weights[i] = weight_of(candidates[i].logit, highest, params);
    total += weights[i];
  }
  if (params.top_p >= 1.0F) return kept;
  double mass = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    mass += weights[i];
    if (mass >= static_cast<double>(params.top_p) * total) return i + 1;
  }
  return kept;
}

// exp(x) for x <= 0 with a relative error below 3e-7 (and at least exp(-700)). Unlike std::exp it
// vectorises.
[[nodiscard]] double rough_exp(double x) noexcept {
  constexpr double kRound = 0x1.8p52;  // added to a number, leaves its integer in the low bits
  x = x < -700.0 ? -700.0 : x;
  const double shifted = x * std::numbers::log2e + kRound;
  const double r = x - (shifted - kRound) * std::numbers::ln2;  // |r| <= ln(2) / 2
  double sum = 1.0 / 720;
  for (const double factor : {1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0}) {
    sum = sum * r + factor;
  }
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(sum) +
                               (std::bit_cast<std::uint64_t>(shifted) << 52));
}

// The sum of all weights, with a relative error below 4e-7, that of the exact sum's rounding in
// whatever order included.
[[nodiscard]] double rough_total(std::span<const float> logits, float highest,
                                 const SamplingParams& params) noexcept {
  const double scale = 1.0 / static_cast<double>(params.temperature);
  std::array<double, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += rough_exp((static_cast<double>(logits[i + lane]) - highest) * scale);
    }
  }
  for (; i < logits.size(); ++i) {
    lanes[0] += rough_exp((static_cast<double>(logits[i]) - highest) * scale);
  }
  return std::accumulate(lanes.begin(), lanes.end(), 0.0);
}

// The greatest of some logits below which about `mass` of the weights lies, judged by the same.
[[nodiscard]] float border(std::span<const float> logits, float highest, double mass,
                           const SamplingParams& params) {
  thread_local std::vector<float> some;
  some.clear();
  const std::size_t stride = logits.size() / kSamples | 1;
  for (std::size_t i = 0; i < logits.size(); i += stride) some.push_back(logits[i]);
  std::ranges::sort(some);
  float found = some.front();
  for (const float logit : some) {
    mass -= static_cast<double>(stride) * weight_of(logit, highest, params);
    if (mass < 0.0) break;
    found = logit;
  }
  return found;
}

// What a sort of everything and `truncate` leave of top_p, without the sort: candidates from a
// border upwards, whose masses are summed in the same order. The total is only known within bounds.
// 0 where these do not decide, or where too little lies above the border.
[[nodiscard]] std::size_t nucleus(std::span<const float> logits, float highest,
                                  std::vector<Candidate>& candidates, std::vector<double>& weights,
                                  const SamplingParams& params) {
  const double total = rough_total(logits, highest, params);
  const double top_p = static_cast<double>(params.top_p);
  const double least = top_p * (total * (1.0 - 4e-7));
  const double most = top_p * (total * (1.0 + 4e-7));
  for (const double share : {0.7, 0.2}) {  // of what top_p leaves out
    const float low = border(logits, highest, share * (1.0 - top_p) * total, params);
    candidates.clear();
    for (std::size_t first = 0; first < logits.size(); first += kBlock) {
      const auto block = logits.subspan(first, std::min(kBlock, logits.size() - first));
      if (maximum(block) < low) continue;
      for (std::size_t i = 0; i < block.size(); ++i) {
        if (block[i] >= low) candidates.push_back({block[i], static_cast<std::int32_t>(first + i)});
      }
    }
    sort(candidates);
    weights.clear();
    double mass = 0.0;
    for (const Candidate& candidate : candidates) {
      weights.push_back(weight_of(candidate.logit, highest, params));
      mass += weights.back();
      if (mass >= most) return weights.size();
      if (mass >= least) return 0;
    }
  }
  return 0;
}

}  // namespace

double uniform(std::uint64_t seed, std::uint64_t index) noexcept {
  return static_cast<double>(mix64(mix64(seed) + index) >> 11) * 0x1.0p-53;
}

std::int64_t argmax(std::span<const float> logits) noexcept {
  const float highest = maximum(logits);
  const auto found = std::find(logits.begin(), logits.end(), highest);
  return found == logits.end() ? 0 : found - logits.begin();
}

namespace {

// The first of the greatest, where the favoured ids have their bonus.
[[nodiscard]] std::int64_t favoured_argmax(std::span<const float> logits,
                                           const SamplingParams& params) noexcept {
  std::int64_t best = argmax(logits);
  if (params.bonus <= 0.0F || logits.empty()) return best;
  float value = logits[static_cast<std::size_t>(best)];
  for (const std::int64_t id : params.favoured) {
    if (id < 0 || id >= static_cast<std::int64_t>(logits.size())) continue;
    const float lifted = logits[static_cast<std::size_t>(id)] + params.bonus;
    if (lifted > value || (lifted == value && id < best)) {
      best = id;
      value = lifted;
    }
  }
  return best;
}

}  // namespace

std::int64_t sample(std::span<const float> logits, const SamplingParams& params,
                    std::uint64_t index) {
  if (params.temperature <= 0.0F || logits.empty()) return favoured_argmax(logits, params);
  thread_local std::vector<Candidate> candidates;
  thread_local std::vector<double> weights;
  thread_local std::vector<float> lifted;
  if (params.bonus > 0.0F && !params.favoured.empty()) {
    lifted.assign(logits.begin(), logits.end());
    for (const std::int64_t id : params.favoured) {
      if (id < 0 || id >= static_cast<std::int64_t>(logits.size())) continue;
      lifted[static_cast<std::size_t>(id)] += params.bonus;
    }
    logits = lifted;
  }
  const auto most = params.top_k > 0 ? static_cast<std::size_t>(params.top_k) : logits.size();
  std::size_t kept = 0;
  if (most < logits.size()) {
    greatest(logits, most, candidates);
    kept = truncate(candidates, weights, params, candidates.front().logit);
  } else {
    const float highest = maximum(logits);
    const bool cut = params.top_p < 1.0F;
    if (cut && logits.size() > 4 * kSamples) {
      kept = nucleus(logits, highest, candidates, weights, params);
    }
    if (kept == 0) {
      candidates.resize(logits.size());
      for (std::size_t i = 0; i < logits.size(); ++i) {
        candidates[i] = {logits[i], static_cast<std::int32_t>(i)};
      }
      if (cut) sort(candidates);
      kept = truncate(candidates, weights, params, highest);
    }
  }
  double total = 0.0;
  for (std::size_t i = 0; i < kept; ++i) total += weights[i];
  double left = uniform(params.seed, index) * total;
  for (std::size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0.0) return candidates[i].id;
  }
  return candidates[kept - 1].id;  // rounding used up the last weight
}

bool all_finite(std::span<const float> values) noexcept {
  // Infinities and NaNs have the greatest exponent: an integer maximum vectorises.
  std::int32_t greatest = 0;
  for (const float value : values) {
    greatest = std::max(greatest, std::bit_cast<std::int32_t>(value) & 0x7fffffff);
  }
  return greatest < 0x7f800000;
}

double p_success(std::span<const float> logits, std::span<const std::int64_t> yes,
                 std::span<const std::int64_t> no) noexcept {
  const auto known = [&](std::int64_t id) {
    return id >= 0 && id < static_cast<std::int64_t>(logits.size());
  };
  const auto logit = [&](std::int64_t id) {
    return static_cast<double>(logits[static_cast<std::size_t>(id)]);
  };
  double highest = -std::numeric_limits<double>::infinity();
  for (const auto& ids : {yes, no}) {
    for (const std::int64_t id : ids) {
      if (known(id)) highest = std::max(highest, logit(id));
    }
  }
  const auto mass = [&](std::span<const std::int64_t> ids) {
    double sum = 0.0;
    for (const std::int64_t id : ids) {
      if (known(id)) sum += std::exp(logit(id) - highest);
    }
    return sum;
  };
  const double for_yes = mass(yes);
  const double total = for_yes + mass(no);
  return total > 0.0 ? for_yes / total : 0.5;
}

}  // namespace irt
