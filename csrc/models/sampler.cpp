#include "models/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/key.h"

namespace irt {
namespace {

constexpr std::size_t kLanes = 16;  // independent maxima, so that compilers vectorise the loop

struct Candidate {
  float logit = 0.0F;
  std::int32_t id = 0;
};

// Greatest first; ties: the lowest id first.
[[nodiscard]] bool before(const Candidate& a, const Candidate& b) noexcept {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
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

// How many candidates top_k and top_p leave: the first ones, with their weights; sorted, greatest
// first, only where some are left out.
[[nodiscard]] std::size_t truncate(std::vector<Candidate>& candidates, std::vector<double>& weights,
                                   const SamplingParams& params, float highest) {
  std::size_t kept = candidates.size();
  if (params.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(params.top_k));
  if (kept < candidates.size() || params.top_p < 1.0F) {
    const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(kept);
    std::partial_sort(candidates.begin(), middle, candidates.end(), before);
  }
  double total = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    weights[i] = std::exp((static_cast<double>(candidates[i].logit) - highest) /
                          static_cast<double>(params.temperature));
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
  candidates.resize(logits.size());
  weights.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates[i] = {logits[i], static_cast<std::int32_t>(i)};
  }
  float highest = maximum(logits);
  if (params.bonus > 0.0F) {
    for (const std::int64_t id : params.favoured) {
      if (id < 0 || id >= static_cast<std::int64_t>(logits.size())) continue;
      candidates[static_cast<std::size_t>(id)].logit += params.bonus;
      highest = std::max(highest, candidates[static_cast<std::size_t>(id)].logit);
    }
  }
  const std::size_t kept = truncate(candidates, weights, params, highest);
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
