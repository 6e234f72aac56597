#include "engine/harness.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <unordered_map>

#include "support/monitor.h"
#include "support/reference.h"

namespace irt::test {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

int runs(int usual) {
  const char* factor = std::getenv("IRT_RUNS");
  return factor ? usual * std::max(1, std::atoi(factor)) : usual;
}

Seen read_all(Driver& driver, RequestId request, std::chrono::milliseconds patience,
              const std::function<void()>& before_each) {
  Seen seen;
  Monitor monitor;  // of the grammar of notices
  const auto until = Clock::now() + patience;
  while (Clock::now() < until) {
    if (before_each) before_each();
    auto event = driver.next_event(request, std::chrono::milliseconds(50));
    if (!event) continue;
    Notice& notice = event->notice;
    monitor.follow(Submit{request, {}}, {Deliver{request, notice}});
    if (seen.disorder.empty() && !monitor.violations().empty()) {
      seen.disorder = monitor.violations().front();
    }
    if (const auto* made = std::get_if<AttemptReady>(&notice)) {
      const Image& image = made->attempt.image;
      const bool whole =
          event->image && event->image->key == image.key && event->image->hash == image.hash;
      if (!whole && seen.disorder.empty()) seen.disorder = "an attempt without its pixels";
    } else if (const auto* step = std::get_if<StepCommitted>(&notice)) {
      seen.steps.push_back(canonical(step->result));
    } else if (auto* ended = std::get_if<RequestEnded>(&notice)) {
      seen.outcome = ended->outcome;
      seen.failure = std::move(ended->failure);
      seen.truncated = ended->plan_truncated;
      return seen;
    }
  }
  seen.disorder = "the request did not end in time";
  return seen;
}

bool settles(Driver& driver, std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (driver.counters().running > 0) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::string left_behind(Driver& driver) {
  if (!settles(driver)) return "calls run on without a request";
  const DriverCounters left = driver.counters();
  if (left.live != 0 || left.records != 0) return "a request was not let go";
  if (left.images == 0 && left.image_bytes == 0) return "";
  return std::to_string(left.images) + " images are left";
}

bool is_prefix(const std::vector<std::string>& part, const std::vector<std::string>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

Expected run_reference(const Script& script, const RequestSpec& spec,
                       const std::vector<std::uint64_t>& inputs, bool failing) {
  Expected out;
  std::unordered_map<Key, std::uint64_t> hashes;
  for (std::size_t i = 0; i < inputs.size(); ++i) hashes[spec.images[i]] = inputs[i];
  const auto hash = [&hashes](const Key& key) {
    const auto found = hashes.find(key);
    return found == hashes.end() ? 0 : found->second;
  };
  const Roles roles = [&](const Call& call) -> std::variant<CallResult, Failure> {
    const std::uint64_t source = hash(call.source);
    if (call.role == Role::kPlanner) {
      out.plan_fails = failing && scripted_plan_fails(script, call.prompt, call.seed);
      if (out.plan_fails) return Failure{};
      return scripted_plan(script, call.prompt, call.mode, call.max_steps, call.seed);
    }
    if (call.role == Role::kGenerator) {
      if (failing && scripted_image_fails(script, call.prompt, source, call.seed)) {
        return Failure{};
      }
      const PixelBuffer pixels = scripted_image(script, call.prompt, source, call.seed, call.width,
                                                call.height, call.denoising_steps);
      return Image{call.key, hashes[call.key] = hash_pixels(pixels.view())};
    }
    const std::uint64_t image = hash(call.image);
    if (failing && scripted_verdict_fails(script, call.prompt, source, image, call.seed)) {
      return Failure{};
    }
    return scripted_verdict(script, call.original, call.prompt, source, image, call.seed);
  };
  const ReferenceResult loop = run_reference(0, spec, roles);
  for (const StepResult& step : loop.steps) out.steps.push_back(canonical(step));
  out.finished = loop.finished;
  out.truncated = loop.plan_truncated;
  return out;
}

std::string canonical(const StepResult& step) {
  std::ostringstream out;
  const auto text = [](const std::optional<std::string>& value) { return value.value_or("null"); };
  out.precision(17);
  out << step.plan.step_number << " | " << step.plan.step_name << " | "
      << text(step.plan.instruction) << " | " << text(step.plan.prompt) << " | "
      << text(step.plan.auxiliary_text);
  std::string final = "none";
  for (const Attempt& attempt : step.attempts) {
    out << "\n  " << attempt.number << " | " << attempt.prompt << " | " << attempt.seed << " | "
        << attempt.image.hash;
    if (attempt.verdict) {
      out << " | " << attempt.verdict->accepted << " | " << attempt.verdict->p_success;
      if (!attempt.verdict->accepted) out << " | " << text(attempt.verdict->refined);
      out << (attempt.refused_unreadable ? " | unreadable" : "");
    }
    if (step.image == attempt.image.key) final = std::to_string(attempt.number);
  }
  out << "\n  final " << final << " accepted "
      << (step.accepted ? (*step.accepted ? "true" : "false") : "null");
  return out.str();
}

ScriptedConfig quick_config() {
  ScriptedConfig config;
  config.script.image_size = 4;
  config.times.planner_ms = 0.6;
  config.times.first_step_ms = 0.2;
  config.times.generator_ms = 0.4;
  config.times.critic_ms = 0.4;
  config.times.verdict_ms = 0.2;
  return config;
}

ScriptedConfig random_config(Random& random) {
  ScriptedConfig config;
  Script& script = config.script;
  script.seed = random.seed();
  script.min_steps = random.between(1, 2);
  script.max_steps = random.between(2, 5);
  script.text_only = random.chance(0.3) ? 0.2 : 0.0;
  script.unreadable_plan = random.chance(0.3) ? 0.3 : 0.0;
  script.violated_plan = random.chance(0.3) ? 0.4 : 0.0;
  script.unreadable_verdict = random.chance(0.3) ? 0.3 : 0.0;
  script.unreadable_refined = random.chance(0.3) ? 0.5 : 0.0;
  script.accept = random.uniform(0.2, 1.0);
  if (random.chance(0.3)) script.accept_by_refinement = {0.3, 0.9, 0.5};
  script.image_size = random.between(3, 6);
  ScriptedTimes& times = config.times;
  times.planner_ms = random.uniform(0.0, 3.0);
  times.first_step_ms = times.planner_ms * random.uniform(0.0, 1.0);
  times.generator_ms = random.uniform(0.0, 2.0);
  times.denoise_steps = random.between(1, 4);
  times.critic_ms = random.uniform(0.0, 2.0);
  times.verdict_ms = times.critic_ms * random.uniform(0.0, 1.0);
  times.jitter = random.uniform(0.0, 0.9);
  times.slowdown = random.uniform(1.0, 2.0);
  config.planner_slots = random.between(1, 3);
  config.generator_slots = random.between(1, 3);
  config.critic_slots = random.between(1, 3);
  config.shared = random.chance(0.5);
  return config;
}

RequestSpec random_spec(Random& random) {
  RequestSpec spec;
  spec.text = "request " + std::to_string(random.between(0, 9999));
  spec.seed = random.seed();
  spec.seed_rule = random.chance(0.2) ? SeedRule::kReference : SeedRule::kCounter;
  spec.t_max = random.between(1, 4);
  spec.max_steps = random.chance(0.2) ? random.between(1, 3) : 25;
  spec.keep = random.chance(0.3) ? Keep::kBest : Keep::kLast;
  spec.judge_last = random.chance(0.3);
  spec.speculation.mode = static_cast<SpeculationMode>(random.between(0, 2));
  spec.speculation.depth = random.between(1, 3);
  for (bool* device : {&spec.optimizations.stream_plan, &spec.optimizations.early_verdict,
                       &spec.optimizations.skip_last_judge, &spec.optimizations.encode_text_ahead,
                       &spec.optimizations.cache_vision}) {
    *device = random.chance(0.7);
  }
  return spec;
}

RequestSpec spec_of(const std::string& text) {
  RequestSpec spec;
  spec.text = text;
  return spec;
}

PixelBuffer random_image(Random& random) {
  PixelBuffer image;
  image.width = random.between(2, 5);
  image.height = random.between(2, 5);
  for (std::size_t i = 0; i < image.view().bytes(); ++i) {
    image.data.push_back(static_cast<std::uint8_t>(random.between(0, 255)));
  }
  return image;
}

}  // namespace irt::test
