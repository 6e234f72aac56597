#include "models/generator.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <utility>

#include "core/error.h"
#include "core/key.h"
#include "models/flux2.h"
#include "models/qwen_image.h"

namespace irt {
namespace {

std::mutex g_families_mutex;
std::map<std::string, MakeGenerator>& families() {
  static std::map<std::string, MakeGenerator> known{{"flux2", make_flux2},
                                                    {"qwen_image", make_qwen_image}};
  return known;
}

}  // namespace

const std::string& GeneratorConfig::part(const std::string& name) const {
  const auto found = std::ranges::find(parts, name, &Part::name);
  if (found != parts.end()) return found->path;
  throw Error(ErrorCode::kBadPack, "[make_generator] the pack has no part `" + name +
                                       "`, which the family " + family +
                                       " needs: export the pack again");
}

std::unique_ptr<Generator> make_generator(const GeneratorConfig& config,
                                          const SessionOptions& options) {
  MakeGenerator make;
  std::string names;
  {
    const std::lock_guard lock(g_families_mutex);
    for (const auto& [name, family] : families()) {
      names += (names.empty() ? "" : ", ") + name;
      if (name == config.family) make = family;
    }
  }
  if (make) return make(config, options);
  throw Error(ErrorCode::kBadPack, "[make_generator] there is no generator family " +
                                       config.family + "; there are " + names);
}

void add_generator_family(const std::string& name, MakeGenerator make) {
  const std::lock_guard lock(g_families_mutex);
  families()[name] = std::move(make);
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
