// The facts of a trajectory, and the calls that its program makes.
#include <algorithm>

#include "sched/trajectory.h"

namespace irt {

Trajectory::Trajectory(RequestId id, RequestSpec spec) : id_(id), spec_(std::move(spec)) {
  for (const Key& image : spec_.images) {
    if (std::find(held_.begin(), held_.end(), image) == held_.end()) held_.push_back(image);
  }
  if (!spec_.images.empty()) cursor_.source = spec_.images.back();
  plan_key_ = plan_call(0).key;
}

// ---- facts --------------------------------------------------------------------------------

std::optional<Failure> Trajectory::add(StepClosed&& partial) {
  const auto known = static_cast<int>(steps_.size());
  if (partial.index >= spec_.max_steps) return std::nullopt;  // the reader's violation, not a step
  if (partial.index < 0 || partial.index > known) {
    return Failure{ErrorCode::kBackendFailed,
                   "[Trajectory.add] plan step " + std::to_string(partial.index) +
                       " closed before step " + std::to_string(known) +
                       ": a planner lane must report its steps in order"};
  }
  if (partial.index == known) {
    steps_.push_back(std::move(partial.step));
  } else if (!(steps_[static_cast<std::size_t>(partial.index)] == partial.step)) {
    return Failure{ErrorCode::kBackendFailed,
                   "[Trajectory.add] plan step " + std::to_string(partial.index) +
                       " differs from the one reported before: the planner is not deterministic"};
  }
  return std::nullopt;
}

std::optional<Failure> Trajectory::add(const VerdictKnown& partial) {
  for (const VerdictKnown& known : partials_) {
    if (known.call != partial.call) continue;
    if (known.accepted == partial.accepted) return std::nullopt;
    return Failure{ErrorCode::kBackendFailed,
                   "[Trajectory.add] a critic changed its verdict: the critic is not "
                   "deterministic"};
  }
  partials_.push_back(partial);
  return std::nullopt;
}

std::optional<Failure> Trajectory::add(const Key& call, Role role, CallResult&& result) {
  const auto wrong = [](const char* what) {
    return Failure{ErrorCode::kBackendFailed,
                   std::string("[Trajectory.add] ") + what + ": mend the lane that answered"};
  };
  if (role == Role::kPlanner) {
    auto* plan = std::get_if<Plan>(&result);
    if (plan == nullptr) return wrong("a plan call was not answered with a plan");
    const auto limit = static_cast<std::size_t>(spec_.max_steps);
    if (plan->steps.size() > limit) {
      plan->steps.resize(limit);
      plan->truncated = true;
    }
    if (plan->steps.size() < steps_.size() ||
        !std::equal(steps_.begin(), steps_.end(), plan->steps.begin())) {
      return wrong("the plan differs from the steps that were streamed");
    }
  } else if (role == Role::kGenerator) {
    const auto* image = std::get_if<Image>(&result);
    if (image == nullptr) return wrong("a generate call was not answered with an image");
    if (image->key != call) return wrong("an image does not carry the key of its call");
    held_.push_back(call);
  } else {
    auto* verdict = std::get_if<Verdict>(&result);
    if (verdict == nullptr) return wrong("a judge call was not answered with a verdict");
    if (!verdict->readable) verdict->accepted = false;
    if (!verdict->readable || verdict->accepted) verdict->refined.reset();
    for (const VerdictKnown& known : partials_) {
      if (known.call == call && (!verdict->readable || known.accepted != verdict->accepted)) {
        return wrong("the verdict differs from the one that was streamed");
      }
    }
  }
  results_.emplace_back(call, std::move(result));
  return std::nullopt;
}

CallResult* Trajectory::find(const Key& key) noexcept {
  for (auto& [known, result] : results_) {
    if (known == key) return &result;
  }
  return nullptr;
}

void Trajectory::forget(const Key& key) {
  std::erase_if(results_, [&key](const auto& entry) { return entry.first == key; });
  std::erase_if(partials_, [&key](const VerdictKnown& known) { return known.call == key; });
}

// ---- the program's calls ------------------------------------------------------------------

const PlanStep& Trajectory::step_at(const Cursor& at) const {
  return steps_[static_cast<std::size_t>(at.step)];
}

const std::string& Trajectory::used_prompt(const Cursor& at) const {
  return at.attempt == 1 ? *step_at(at).prompt : at.prompt;
}

bool Trajectory::counts(int attempt) const noexcept {
  return attempt < spec_.t_max || spec_.judge_last || spec_.keep == Keep::kBest;
}

bool Trajectory::judged(int attempt) const noexcept {
  return counts(attempt) || !spec_.optimizations.skip_last_judge;
}

bool Trajectory::matters(int attempt) const noexcept {
  return attempt < spec_.t_max || spec_.keep == Keep::kBest;
}

Call Trajectory::plan_call(int retry) const {
  Call call;
  call.role = Role::kPlanner;
  call.request = id_;
  call.retry = retry;
  call.seed = seed_of(spec_.seed, spec_.seed_rule, Role::kPlanner, 0, 0, retry);
  call.mode = spec_.mode;
  call.max_steps = spec_.max_steps;
  call.prompt = spec_.text;
  call.images = spec_.images;
  call.optimizations = spec_.optimizations;
  call.key = key_of(call);
  return call;
}

Call Trajectory::generate_call(const Cursor& at) const {
  Call call;
  call.role = Role::kGenerator;
  call.request = id_;
  call.step = at.step;
  call.attempt = at.attempt;
  call.seed = seed_of(spec_.seed, spec_.seed_rule, call.role, at.step, at.attempt, 0);
  call.prompt = used_prompt(at);
  call.source = at.source;
  call.width = spec_.width;
  call.height = spec_.height;
  call.denoising_steps = spec_.denoising_steps;
  call.optimizations = spec_.optimizations;
  call.key = key_of(call);
  return call;
}

Call Trajectory::judge_call(const Cursor& at) const {
  Call call;
  call.role = Role::kCritic;
  call.request = id_;
  call.step = at.step;
  call.attempt = at.attempt;
  call.retry = at.retry;
  call.seed = seed_of(spec_.seed, spec_.seed_rule, call.role, at.step, at.attempt, at.retry);
  call.prompt = used_prompt(at);
  call.original = *step_at(at).prompt;
  call.source = at.source;
  call.image = at.image;
  call.optimizations = spec_.optimizations;
  call.key = key_of(call);
  return call;
}

Call Trajectory::to_start(const Want& want) const {
  return want.call.role == Role::kPlanner ? plan_call(want.call.retry) : want.call;
}

}  // namespace irt
