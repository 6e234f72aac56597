// The numbers of flow matching: sigmas and noise.
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

#include "core/error.h"
#include "core/key.h"
#include "models/denoiser.h"

namespace irt {
namespace {

constexpr int kTrainedSteps = 1000;  // the time steps that the scheduler was trained with

// compute_empirical_mu of diffusers' FLUX.2 pipelines.
double empirical_mu(int image_tokens, int steps) noexcept {
  constexpr double a1 = 8.73809524e-05;
  constexpr double b1 = 1.89833333;
  constexpr double a2 = 0.00016927;
  constexpr double b2 = 0.45666666;
  const double tokens = image_tokens;
  const double at_200 = a2 * tokens + b2;
  if (image_tokens > 4300) return at_200;
  const double at_10 = a1 * tokens + b1;
  const double slope = (at_200 - at_10) / 190.0;
  const double offset = at_200 - 200.0 * slope;
  return slope * steps + offset;
}

}  // namespace

std::vector<float> flow_sigmas(int steps, int image_tokens) {
  if (steps < 1 || steps > kTrainedSteps || image_tokens < 1) {
    throw Error(ErrorCode::kBadRequest, "[Denoiser.begin] " + std::to_string(steps) +
                                            " denoising steps for " + std::to_string(image_tokens) +
                                            " image tokens: pass 1 to " +
                                            std::to_string(kTrainedSteps) + " steps");
  }
  // numpy's linspace in double; everything after it in float, as the scheduler does.
  const double last = 1.0 / steps;
  const double stride = steps > 1 ? (last - 1.0) / (steps - 1) : 0.0;
  const auto shift = static_cast<float>(std::exp(empirical_mu(image_tokens, steps)));
  std::vector<float> sigmas;
  sigmas.reserve(static_cast<std::size_t>(steps) + 1);
  for (int i = 0; i < steps; ++i) {
    const double linear = i + 1 == steps ? last : i * stride + 1.0;
    const auto t = static_cast<float>(linear);
    const float odds = 1.0F / t - 1.0F;
    sigmas.push_back(shift / (shift + odds));
  }
  sigmas.push_back(0.0F);
  return sigmas;
}

void gaussian_noise(std::uint64_t seed, std::span<float> out) noexcept {
  constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15ULL;
  constexpr double kUnit = 0x1p-53;
  const std::uint64_t state = mix64(seed);
  const auto uniform = [state](std::uint64_t k) {
    return (static_cast<double>(mix64(state + k * kGamma) >> 11) + 0.5) * kUnit;
  };
  for (std::size_t i = 0; i < out.size(); i += 2) {
    const double radius = std::sqrt(-2.0 * std::log(uniform(i)));
    const double angle = 2.0 * std::numbers::pi * uniform(i + 1);
    out[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace irt
