#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "models/sampler.h"

using namespace irt;

namespace {

std::vector<float> random_logits(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  std::vector<float> logits(count);
  for (float& value : logits) value = normal(random);
  return logits;
}

// What `sample` is: everything sorted, weighed and cut, in this order.
std::int64_t by_the_book(const std::vector<float>& logits, const SamplingParams& params,
                         std::uint64_t index) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min(order.size(), std::size_t(params.top_k)));
  std::vector<double> weights;
  for (const std::size_t id : order) {
    weights.push_back(std::exp((double(logits[id]) - logits[order[0]]) / params.temperature));
  }
  const double bound = params.top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    mass += weights[i];
    if (mass >= bound) weights.resize(i + 1);
  }
  double left = uniform(params.seed, index) * std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0.0) return std::int64_t(order[i]);
  }
  return std::int64_t(order[weights.size() - 1]);
}

std::int64_t argmax(const std::vector<float>& logits) { return sample(logits, {}, 0); }

}  // namespace

TEST_CASE("the greedy choice is the first of the greatest, at every length and place") {
  for (std::size_t length = 1; length < 70; ++length) {
    for (std::size_t place = 0; place < length; ++place) {
      std::vector<float> logits(length, -3.0F);
      logits[place] = 1.5F;
      CHECK(argmax(logits) == static_cast<std::int64_t>(place));
      logits.back() = 1.5F;  // a tie: the lowest id wins
      CHECK(argmax(logits) == static_cast<std::int64_t>(place));
    }
  }
  CHECK(argmax(std::vector<float>{-1e30F, -1e31F}) == 0);
  CHECK(argmax(std::vector<float>{}) == 0);
}

TEST_CASE("infinities and NaN are found at every place") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t place = 0; place < 37; ++place) {
    std::vector<float> values(37, -std::numeric_limits<float>::max());
    CHECK(all_finite(values));
    for (const float bad : {infinity, -infinity, nan, -nan}) {
      values[place] = bad;
      CHECK_FALSE(all_finite(values));
    }
  }
}

TEST_CASE("sampling follows the softmax at the temperature") {
  const std::vector<float> logits{1.0F, 0.0F, -1.0F, 2.0F};
  const float temperature = 0.7F;
  double total = 0.0;
  for (const float logit : logits) total += std::exp(logit / temperature);
  std::vector<int> drawn(logits.size());
  const int draws = 40000;
  for (int i = 0; i < draws; ++i) {
    SamplingParams params{temperature, 0, 1.0F, 3};
    ++drawn[static_cast<std::size_t>(sample(logits, params, static_cast<std::uint64_t>(i)))];
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = std::exp(logits[i] / temperature) / total;
    CHECK(static_cast<double>(drawn[i]) / draws == doctest::Approx(expected).epsilon(0.05));
  }
}

TEST_CASE("top_k and top_p leave out exactly the tail") {
  const std::vector<float> logits = random_logits(300, 5);
  std::vector<std::size_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
  const auto rank = [&](std::int64_t id) {
    return std::find(order.begin(), order.end(), static_cast<std::size_t>(id)) - order.begin();
  };
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  double mass = 0.0;
  std::ptrdiff_t nucleus = 0;  // how many tokens make up 60 %
  while (mass < 0.6 * total)
    mass += std::exp(static_cast<double>(logits[order[static_cast<std::size_t>(nucleus++)]]));
  std::ptrdiff_t deepest_k = 0;
  std::ptrdiff_t deepest_p = 0;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    deepest_k = std::max(deepest_k, rank(sample(logits, {1.0F, 5, 1.0F, 11}, i)));
    deepest_p = std::max(deepest_p, rank(sample(logits, {1.0F, 0, 0.6F, 11}, i)));
  }
  CHECK(deepest_k == 4);
  CHECK(deepest_p == nucleus - 1);
  // One candidate left, and temperature 0: the greatest.
  for (std::uint64_t i = 0; i < 50; ++i) {
    CHECK(sample(logits, {1.0F, 1, 1.0F, 1}, i) == argmax(logits));
    CHECK(sample(logits, {1.0F, 0, 1e-6F, 1}, i) == argmax(logits));
    CHECK(sample(logits, {0.0F, 0, 1.0F, 1}, i) == argmax(logits));
  }
}

TEST_CASE("top_k keeps what a sort of everything keeps, ties by the lowest id") {
  std::mt19937 random(9);
  for (int round = 0; round < 300; ++round) {
    const std::size_t count = 1 + random() % 3000;
    std::vector<float> logits = random_logits(count, static_cast<std::uint32_t>(round));
    const bool coarse = round % 2 == 0;  // many equal values
    for (float& value : logits) value = coarse ? std::round(value) : value;
    const int top_k = 1 + static_cast<int>(random() % 200);
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](auto a, auto b) { return logits[a] > logits[b]; });
    order.resize(std::min(count, static_cast<std::size_t>(top_k)));
    double total = 0.0;
    for (const std::size_t id : order) total += std::exp(static_cast<double>(logits[id]));
    for (std::uint64_t i = 0; i < 20; ++i) {
      // Where the drawn number lies close to a border, rounding decides.
      const double drawn = uniform(7, i) * total;
      double sum = 0.0;
      std::size_t place = 0;
      while (place + 1 < order.size() &&
             (sum += std::exp(static_cast<double>(logits[order[place]]))) <= drawn) {
        ++place;
      }
      const bool border = std::abs(sum - drawn) < 1e-9 * total;
      const auto id = static_cast<std::size_t>(sample(logits, {1.0F, top_k, 1.0F, 7}, i));
      CHECK((border || count <= order.size() || id == order[place]));
      CHECK(std::ranges::find(order, id) != order.end());
    }
  }
}

TEST_CASE("a nucleus of a large vocabulary is what a sort of everything leaves, to the bit") {
  std::minstd_rand random(4);
  for (int round = 0; round < 60; ++round) {
    std::vector<float> logits = random_logits(4097 + random() % 30000, std::uint32_t(random()));
    for (std::size_t i = 0; i < logits.size(); ++i) {
      float& value = logits[i];
      if (round % 6 == 1) value *= 4.0F;                           // a few are all
      if (round % 6 == 2) value = std::round(value);               // ties, and both zeros
      if (round % 6 == 3) value = 1.5F;                            // flat
      if (round % 6 == 4) value = 1e30F * value;                   // no weight but one
      if (round % 6 == 5) value = -2.0F * std::log(float(i + 1));  // sampled by the greatest
    }
    for (const float top_p : {1e-6F, 0.3F, 0.8F, 0.95F, 0.9999999F}) {
      const SamplingParams params{round % 2 == 0 ? 0.7F : 1.3F, 0, top_p, random()};
      for (std::uint64_t index = 0; index < 3; ++index) {
        CHECK(sample(logits, params, index) == by_the_book(logits, params, index));
      }
    }
  }
}

TEST_CASE("favoured ids are chosen as if their logits were greater, greedily and by chance") {
  const std::vector<float> logits{0.0F, 2.0F, 1.5F, -1.0F};
  const std::vector<std::int64_t> ids{2, 9};  // 9 is outside the vocabulary
  SamplingParams params;
  params.favoured = ids;
  params.bonus = 0.4F;
  CHECK(sample(logits, params, 0) == 1);
  params.bonus = 0.6F;
  CHECK(sample(logits, params, 0) == 2);
  params.bonus = 0.5F;  // equal: the lowest id
  CHECK(sample(logits, params, 0) == 1);

  std::vector<float> shifted = logits;
  shifted[2] += 0.6F;
  SamplingParams plain;
  plain.temperature = params.temperature = 0.8F;
  plain.seed = params.seed = 5;
  params.bonus = 0.6F;
  for (std::uint64_t index = 0; index < 200; ++index) {
    CHECK(sample(logits, params, index) == sample(shifted, plain, index));
  }
}

TEST_CASE("p_success compares the masses of yes and no") {
  const std::vector<float> logits{0.5F, 3.0F, -2.0F, 3.0F, 900.0F};
  const std::vector<std::int64_t> yes{1};
  const std::vector<std::int64_t> no{3};
  CHECK(p_success(logits, yes, no) == 0.5);
  const std::vector<std::int64_t> both{1, 2};
  const double expected =
      (std::exp(3.0) + std::exp(-2.0)) / (std::exp(3.0) + std::exp(-2.0) + std::exp(0.5));
  CHECK(p_success(logits, both, std::vector<std::int64_t>{0}) == doctest::Approx(expected));
  CHECK(p_success(logits, std::vector<std::int64_t>{4}, no) == 1.0);  // no overflow
  CHECK(p_success(logits, no, std::vector<std::int64_t>{4}) == 0.0);
  CHECK(p_success(logits, std::vector<std::int64_t>{77}, std::vector<std::int64_t>{-1}) == 0.5);
}
