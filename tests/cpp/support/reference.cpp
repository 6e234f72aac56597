#include "support/reference.h"

#include <algorithm>
#include <cstddef>

namespace irt::test {
namespace {

struct CallFailedHere {};

class Loop {
 public:
  Loop(RequestId request, const RequestSpec& spec, const Roles& roles)
      : request_(request), spec_(spec), roles_(roles) {}

  ReferenceResult run() {
    try {
      Plan plan = make_plan(0);
      bool lost = false;  // the second reading: the first one's steps are all that can be made
      if (plan.steps.empty() || plan.violated) {
        try {
          append(plan, make_plan(1));
        } catch (const CallFailedHere&) {
          lost = true;
        }
      }
      if (plan.steps.empty()) return out_;
      out_.plan_truncated = plan.truncated;
      std::vector<Key> story = spec_.images;
      for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        StepResult step = make_step(static_cast<int>(i), plan.steps[i], story);
        if (step.image) story.push_back(*step.image);
        out_.steps.push_back(std::move(step));
        out_.unfinished.clear();
      }
      out_.finished = !lost;
    } catch (const CallFailedHere&) {
    }
    return out_;
  }

 private:
  // To what was read of a plan, the steps of its second reading that come after.
  static void append(Plan& plan, const Plan& second) {
    const std::size_t standing = plan.steps.size();
    plan.truncated = second.truncated || second.steps.size() < standing;
    for (std::size_t i = standing; i < second.steps.size(); ++i) {
      plan.steps.push_back(second.steps[i]);
      if (standing > 0) plan.steps[i].step_number = plan.steps[i - 1].step_number + 1;
    }
  }

  StepResult make_step(int i, const PlanStep& plan, const std::vector<Key>& story) {
    const Key source = story.empty() ? Key{} : story.back();
    StepResult step;
    step.plan = plan;
    if (!plan.prompt) return step;
    std::vector<Attempt>& tries = out_.unfinished;
    std::string prompt = *plan.prompt;
    std::size_t chosen = 0;
    for (int t = 1; t <= spec_.t_max; ++t) {
      tries.push_back(generate(i, t, prompt, story));
      chosen = tries.size() - 1;
      if (t == spec_.t_max && !spec_.judge_last && spec_.keep != Keep::kBest) {
        if (!spec_.optimizations.skip_last_judge) {  // waited for, and dropped
          judge(i, t, 0, *plan.prompt, prompt, source, tries.back().image.key);
        }
        break;
      }
      Verdict verdict = judge(i, t, 0, *plan.prompt, prompt, source, tries.back().image.key);
      if (!verdict.readable) {
        verdict = judge(i, t, 1, *plan.prompt, prompt, source, tries.back().image.key);
      }
      if (!verdict.readable) break;  // not judged: it stands
      if (verdict.accepted) verdict.refined.reset();
      tries.back().verdict = verdict;
      if (verdict.accepted) break;
      if (!verdict.refined) tries.back().refused_unreadable = true;
      if (t < spec_.t_max) {
        if (verdict.refined) prompt = *verdict.refined;
      } else if (spec_.keep == Keep::kBest) {
        for (std::size_t k = 0; k < tries.size(); ++k) {
          if (tries[k].verdict->p_success >= tries[chosen].verdict->p_success &&
              (k > chosen || tries[k].verdict->p_success > tries[chosen].verdict->p_success)) {
            chosen = k;
          }
        }
      }
    }
    step.attempts = tries;
    step.image = tries[chosen].image.key;
    if (tries[chosen].verdict) step.accepted = tries[chosen].verdict->accepted;
    return step;
  }

  CallResult ask(Call& call) {
    ++out_.calls;
    call.request = request_;
    call.key = key_of(call);
    out_.asked.push_back(call.key);
    auto answer = roles_(call);
    if (std::holds_alternative<Failure>(answer)) throw CallFailedHere{};
    return std::get<CallResult>(answer);
  }

  Plan make_plan(int retry) {
    Call call;
    call.role = Role::kPlanner;
    call.retry = retry;
    call.seed = seed_of(spec_.seed, spec_.seed_rule, Role::kPlanner, 0, 0, retry);
    call.mode = spec_.mode;
    call.max_steps = spec_.max_steps;
    call.prompt = spec_.text;
    call.images = spec_.images;
    return std::get<Plan>(ask(call));
  }

  Attempt generate(int i, int t, const std::string& prompt, const std::vector<Key>& story) {
    Call call;
    call.role = Role::kGenerator;
    call.step = i;
    call.attempt = t;
    call.seed = seed_of(spec_.seed, spec_.seed_rule, Role::kGenerator, i, t, 0);
    call.prompt = prompt;
    if (!story.empty()) {
      const auto seen = std::min(story.size(), static_cast<std::size_t>(spec_.references));
      call.images.assign(story.end() - static_cast<std::ptrdiff_t>(seen), story.end() - 1);
      call.source = story.back();
    }
    call.width = spec_.width;
    call.height = spec_.height;
    call.denoising_steps = spec_.denoising_steps;
    Attempt attempt;
    attempt.number = t;
    attempt.prompt = prompt;
    attempt.seed = call.seed;
    attempt.image = std::get<Image>(ask(call));
    return attempt;
  }

  Verdict judge(int i, int t, int retry, const std::string& original, const std::string& used,
                const Key& before, const Key& after) {
    Call call;
    call.role = Role::kCritic;
    call.step = i;
    call.attempt = t;
    call.retry = retry;
    call.seed = seed_of(spec_.seed, spec_.seed_rule, Role::kCritic, i, t, retry);
    call.prompt = used;
    call.original = original;
    call.source = before;
    call.image = after;
    return std::get<Verdict>(ask(call));
  }

  RequestId request_;
  const RequestSpec& spec_;
  const Roles& roles_;
  ReferenceResult out_;
};

}  // namespace

ReferenceResult run_reference(RequestId request, const RequestSpec& spec, const Roles& roles) {
  return Loop(request, spec, roles).run();
}

std::string difference(const Attempt& got, const Attempt& want, bool with_verdict) {
  if (got.number != want.number) return "attempt number";
  if (got.prompt != want.prompt) return "prompt " + got.prompt + " for " + want.prompt;
  if (got.seed != want.seed) return "seed";
  if (got.image.key != want.image.key || got.image.hash != want.image.hash) return "image";
  if (!with_verdict) return "";
  if (got.verdict.has_value() != want.verdict.has_value()) return "judged or not";
  if (got.refused_unreadable != want.refused_unreadable) return "refused_unreadable";
  if (!got.verdict) return "";
  if (got.verdict->accepted != want.verdict->accepted) return "verdict";
  if (got.verdict->p_success != want.verdict->p_success) return "p_success";
  if (got.verdict->refined != want.verdict->refined) return "refined prompt";
  return "";
}

std::string difference(const StepResult& got, const StepResult& want) {
  if (!(got.plan == want.plan)) return "plan step";
  if (got.attempts.size() != want.attempts.size()) return "number of attempts";
  for (std::size_t k = 0; k < got.attempts.size(); ++k) {
    const std::string what = difference(got.attempts[k], want.attempts[k], true);
    if (!what.empty()) return "attempt " + std::to_string(k + 1) + ": " + what;
  }
  if (got.image != want.image) return "final image";
  if (got.accepted != want.accepted) return "accepted";
  return "";
}

}  // namespace irt::test
