#include "sim/script.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

#include "core/error.h"
#include "core/key.h"

namespace irt {
namespace {

// Independent draws from one content hash.
class Dice {
 public:
  explicit Dice(const Key& content) : state_(content.hi ^ mix64(content.lo)) {}
  std::uint64_t next() { return state_ = mix64(state_); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return uniform() < probability; }
  int between(int low, int high) {
    return low + static_cast<int>(next() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::uint64_t state_;
};

constexpr std::string_view kRefinement = " / sharper";

int refinements(std::string_view prompt) {
  int count = 0;
  for (std::size_t at = prompt.find(kRefinement); at != std::string_view::npos;
       at = prompt.find(kRefinement, at + kRefinement.size())) {
    ++count;
  }
  return count;
}

double accept_of(const Script& script, std::string_view used) {
  const auto& list = script.accept_by_refinement;
  if (list.empty()) return script.accept;
  const auto index = static_cast<std::size_t>(refinements(used));
  return list[std::min(index, list.size() - 1)];
}

Key content(const Script& script, std::string_view what, std::string_view text,
            std::uint64_t seed) {
  return KeyBuilder(what).add(script.seed).add(text).add(seed).finish();
}

Key image_content(const Script& script, std::string_view what, std::string_view prompt,
                  std::uint64_t source_hash, std::uint64_t seed) {
  return KeyBuilder(what).add(content(script, what, prompt, seed)).add(source_hash).finish();
}

Key verdict_content(const Script& script, std::string_view what, std::string_view used,
                    std::uint64_t before, std::uint64_t after, std::uint64_t seed) {
  return KeyBuilder(what).add(content(script, what, used, seed)).add(before).add(after).finish();
}

}  // namespace

Plan scripted_plan(const Script& script, std::string_view text, PlanMode mode, int limit,
                   std::uint64_t seed) {
  Dice dice(content(script, "plan", text, seed));
  Plan plan;
  plan.reasoning = "scripted";
  if (dice.chance(script.unreadable_plan)) {
    plan.truncated = true;
    return plan;
  }
  const int count = dice.between(script.min_steps, script.max_steps);
  const int first = mode == PlanMode::kGuidance ? dice.between(1, 3) : 1;
  for (int i = 0; i < count; ++i) {
    if (i == limit) {
      plan.truncated = true;
      break;
    }
    PlanStep step;
    step.step_number = first + i;
    const std::string number = std::to_string(step.step_number);
    step.step_name = "Step " + number;
    step.auxiliary_text = "Text of step " + number;
    const std::string id = std::to_string(dice.next() % 1000);
    if (!dice.chance(script.text_only)) {
      step.instruction = "Instruction of step " + number;
      step.prompt = "Step " + number + " of: " + std::string(text) + " #" + id;
    }
    plan.steps.push_back(std::move(step));
  }
  Dice breaks(content(script, "violated", text, seed));  // its own: other draws do not depend on it
  plan.violated = breaks.chance(script.violated_plan);
  if (plan.violated) {
    plan.steps.resize(static_cast<std::size_t>(breaks.between(0, std::min(count, limit) - 1)));
    plan.truncated = true;
  }
  return plan;
}

PixelBuffer scripted_image(const Script& script, std::string_view prompt, std::uint64_t source_hash,
                           std::uint64_t seed, int width, int height, int denoising_steps) {
  PixelBuffer out;
  out.width = width > 0 ? width : script.image_size;
  out.height = height > 0 ? height : script.image_size;
  Dice dice(KeyBuilder("pixels")
                .add(image_content(script, "image", prompt, source_hash, seed))
                .add(static_cast<std::uint64_t>(denoising_steps))
                .finish());
  // A gradient between two colours: cheap, and pleasant to look at in a demo.
  std::array<int, 3> from{};
  std::array<int, 3> to{};
  for (std::size_t c = 0; c < 3; ++c) {
    from[c] = dice.between(0, 255);
    to[c] = dice.between(0, 255);
  }
  out.data.resize(out.view().bytes());
  const int span = std::max(1, out.width + out.height - 2);
  std::size_t at = 0;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        out.data[at++] = static_cast<std::uint8_t>(from[c] + (to[c] - from[c]) * (x + y) / span);
      }
    }
  }
  // Two images of equal colours still differ.
  const std::uint64_t mark = dice.next();
  for (std::size_t i = 0; i < 8 && i < out.data.size(); ++i) {
    out.data[i] = static_cast<std::uint8_t>(mark >> (8 * i));
  }
  return out;
}

Verdict scripted_verdict(const Script& script, std::string_view original, std::string_view used,
                         std::uint64_t before_hash, std::uint64_t after_hash, std::uint64_t seed) {
  Dice dice(KeyBuilder("judged")
                .add(verdict_content(script, "verdict", used, before_hash, after_hash, seed))
                .add(original)
                .finish());
  Verdict verdict;
  verdict.reasoning = "scripted";
  verdict.readable = !dice.chance(script.unreadable_verdict);
  if (!verdict.readable) return verdict;
  const double draw = dice.uniform();
  const double accept = accept_of(script, used);
  verdict.accepted = draw < accept;
  verdict.p_success = verdict.accepted ? 0.5 + 0.5 * dice.uniform() : 0.5 * dice.uniform();
  if (!verdict.accepted && !dice.chance(script.unreadable_refined)) {
    verdict.refined = std::string(used) + std::string(kRefinement);
  }
  return verdict;
}

bool scripted_plan_fails(const Script& script, std::string_view text, std::uint64_t seed) {
  return Dice(content(script, "plan fails", text, seed)).chance(script.failing);
}

bool scripted_image_fails(const Script& script, std::string_view prompt, std::uint64_t source_hash,
                          std::uint64_t seed) {
  return Dice(image_content(script, "image fails", prompt, source_hash, seed))
      .chance(script.failing);
}

bool scripted_verdict_fails(const Script& script, std::string_view used, std::uint64_t before_hash,
                            std::uint64_t after_hash, std::uint64_t seed) {
  return Dice(verdict_content(script, "verdict fails", used, before_hash, after_hash, seed))
      .chance(script.failing);
}

void validate(const Script& script) {
  const auto probability = [](const char* name, double value) {
    if (value >= 0.0 && value <= 1.0) return;
    throw Error(ErrorCode::kBadRequest,
                std::string("[Script] ") + name + " is " + std::to_string(value) + ": give 0..1");
  };
  probability("text_only", script.text_only);
  probability("unreadable_plan", script.unreadable_plan);
  probability("unreadable_verdict", script.unreadable_verdict);
  probability("unreadable_refined", script.unreadable_refined);
  probability("failing", script.failing);
  probability("accept", script.accept);
  for (const double value : script.accept_by_refinement) probability("accept_by_refinement", value);
  if (script.min_steps < 1 || script.max_steps < script.min_steps) {
    throw Error(ErrorCode::kBadRequest, "[Script] steps are " + std::to_string(script.min_steps) +
                                            ".." + std::to_string(script.max_steps) +
                                            ": give 1 <= min_steps <= max_steps");
  }
  if (script.image_size < 2 || script.image_size > 4096) {
    throw Error(ErrorCode::kBadRequest,
                "[Script] image_size is " + std::to_string(script.image_size) + ": give 2..4096");
  }
}

}  // namespace irt
