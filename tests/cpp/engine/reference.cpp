#include "engine/reference.h"

#include <optional>
#include <sstream>

#include "core/call.h"

namespace irt::test {
namespace {

// What ends the loop before its time.
struct Fails {};

class Loop {
 public:
  Loop(const Script& script, const RequestSpec& spec, bool failing)
      : script_(script), spec_(spec), failing_(failing) {}

  Plan plan() const {
    for (int retry = 0; retry < 2; ++retry) {
      const std::uint64_t seed = seed_for(Role::kPlanner, 0, 0, retry);
      if (failing_ && scripted_plan_fails(script_, spec_.text, seed)) throw Fails{};
      Plan plan = scripted_plan(script_, spec_.text, spec_.mode, spec_.max_steps, seed);
      if (plan.readable()) return plan;
    }
    return {};
  }

  StepResult step(int index, const PlanStep& plan, std::uint64_t& source) const {
    StepResult out;
    out.plan = plan;
    if (!plan.has_image()) return out;
    std::string prompt = *plan.prompt;
    std::size_t best = 0;
    for (int t = 1;; ++t) {
      out.attempts.push_back(generate(index, t, prompt, source));
      const bool last = t == spec_.t_max;
      const bool counts = !last || spec_.judge_last || spec_.keep == Keep::kBest;
      std::optional<Verdict> verdict;
      if (counts || !spec_.optimizations.skip_last_judge) {
        verdict = judge(index, t, *plan.prompt, out.attempts.back(), source, counts);
      }
      if (!counts || !verdict) return finish(std::move(out), t - 1, std::nullopt, source);
      Attempt& attempt = out.attempts.back();
      attempt.verdict = verdict;
      attempt.refused_unreadable = !verdict->accepted && !verdict->refined;
      if (verdict->accepted) return finish(std::move(out), t - 1, true, source);
      if (verdict->p_success >= out.attempts[best].verdict->p_success) {
        best = out.attempts.size() - 1;
      }
      if (last) {
        const int final = spec_.keep == Keep::kBest ? static_cast<int>(best) : t - 1;
        return finish(std::move(out), final, false, source);
      }
      if (verdict->refined) prompt = *verdict->refined;
    }
  }

 private:
  std::uint64_t seed_for(Role role, int step, int attempt, int retry) const {
    return seed_of(spec_.seed, spec_.seed_rule, role, step, attempt, retry);
  }

  Attempt generate(int step, int t, const std::string& prompt, std::uint64_t source) const {
    Attempt attempt;
    attempt.number = t;
    attempt.prompt = prompt;
    attempt.seed = seed_for(Role::kGenerator, step, t, 0);
    if (failing_ && scripted_image_fails(script_, prompt, source, attempt.seed)) throw Fails{};
    attempt.image.hash =
        hash_pixels(scripted_image(script_, prompt, source, attempt.seed, spec_.width, spec_.height,
                                   spec_.denoising_steps)
                        .view());
    return attempt;
  }

  // Nothing: not judged. A verdict that does not count is asked for once and waited for only.
  std::optional<Verdict> judge(int step, int t, const std::string& original, const Attempt& attempt,
                               std::uint64_t source, bool counts) const {
    for (int retry = 0; retry < (counts ? 2 : 1); ++retry) {
      const std::uint64_t seed = seed_for(Role::kCritic, step, t, retry);
      if (failing_ &&
          scripted_verdict_fails(script_, attempt.prompt, source, attempt.image.hash, seed)) {
        throw Fails{};
      }
      Verdict verdict =
          scripted_verdict(script_, original, attempt.prompt, source, attempt.image.hash, seed);
      if (verdict.readable) return verdict;
    }
    return std::nullopt;
  }

  static StepResult finish(StepResult out, int final, std::optional<bool> accepted,
                           std::uint64_t& source) {
    const Attempt& chosen = out.attempts[static_cast<std::size_t>(final)];
    source = chosen.image.hash;
    out.accepted = accepted;
    // canonical() finds the final image by its key.
    for (Attempt& attempt : out.attempts) {
      attempt.image.key = Key{1, static_cast<std::uint64_t>(attempt.number)};
    }
    out.image = chosen.image.key;
    return out;
  }

  const Script& script_;
  const RequestSpec& spec_;
  bool failing_;
};

}  // namespace

Expected run_reference(const Script& script, const RequestSpec& spec,
                       const std::vector<std::uint64_t>& inputs, bool failing) {
  const Loop loop(script, spec, failing);
  Expected out;
  Plan plan;
  try {
    plan = loop.plan();
  } catch (const Fails&) {
    out.plan_fails = true;
  }
  out.truncated = plan.truncated;
  out.finished = plan.readable();
  std::uint64_t source = inputs.empty() ? 0 : inputs.back();
  try {
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
      out.steps.push_back(canonical(loop.step(static_cast<int>(i), plan.steps[i], source)));
    }
  } catch (const Fails&) {
    out.finished = false;
  }
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

}  // namespace irt::test
