#include "sched/trajectory.h"

#include <algorithm>

namespace irt {
namespace {

bool contains(const std::vector<Key>& keys, const Key& key) {
  return std::ranges::find(keys, key) != keys.end();
}

Failure wrong(const std::string& what) {
  return {ErrorCode::kBackendFailed, "[Trajectory.add] " + what};
}

}  // namespace

// `at` starts at the cursor. When a verdict is missing, `commit` becomes false and `at` goes on as
// if it were an acceptance: nothing from there on is told, and once `beyond` is above 0 it is not
// even certain that the program will get there.
struct Trajectory::Walk {
  const AcceptOdds& odds;
  int max_beyond;
  Progress& out;
  Cursor at = {};
  bool commit = true;
  int beyond = 0;
  bool after_retry = false;
  double probability = 1.0;
  std::vector<Key> visited = {};  // results used without being consumed
  std::vector<Key> needed = {};   // images

  void need(const Key& image) {
    if (image) needed.push_back(image);
  }
  void add_pending(std::shared_ptr<const Call> call) {
    out.pending_calls.push_back({std::move(call), beyond == 0, beyond, after_retry, probability});
  }
};

void Progress::clear() {
  notices.clear();
  consumed.clear();
  pending_calls.clear();
  wasted.clear();
  released.clear();
  prefetches.clear();
  plans_unreadable = 0;
  verdicts_unreadable = 0;
  ended = false;
}

Trajectory::Trajectory(RequestId id, RequestSpec spec) : id_(id), spec_(std::move(spec)) {
  for (const Key& image : spec_.images) {
    if (!contains(held_, image)) held_.push_back(image);
  }
  for (const Key& image : spec_.images) go_on_from(cursor_, image);
  Call plan = call_of(Role::kPlanner, {.attempt = 0});
  plan.mode = spec_.mode;
  plan.max_steps = spec_.max_steps;
  plan.prompt = std::move(spec_.text);
  plan.images = spec_.images;
  plan.key = key_of(plan);
  plan_call_ = std::make_shared<const Call>(std::move(plan));
}

// ---- facts --------------------------------------------------------------------------------

std::optional<Failure> Trajectory::add(StepClosed&& partial) {
  const auto known = static_cast<int>(steps_.size());
  if (partial.index >= spec_.max_steps) return std::nullopt;  // the reader's violation, not a step
  if (partial.index < 0 || partial.index > known) {
    return wrong("plan step " + std::to_string(partial.index) + " closed before step " +
                 std::to_string(known) + ": a planner lane must report its steps in order");
  }
  if (partial.index < standing_) return std::nullopt;  // the first reading's stand
  partial.step.step_number = number_of(partial.index, partial.step.step_number);
  if (partial.index == known) {
    steps_.push_back(std::move(partial.step));
  } else if (!(steps_[static_cast<std::size_t>(partial.index)] == partial.step)) {
    return wrong("plan step " + std::to_string(partial.index) +
                 " differs from the one reported before: the planner is not deterministic");
  }
  return std::nullopt;
}

std::optional<Failure> Trajectory::add(const VerdictKnown& partial) {
  for (const VerdictKnown& known : partials_) {
    if (known.call != partial.call) continue;
    if (known.accepted == partial.accepted) return std::nullopt;
    return wrong("a critic changed its verdict: the critic is not deterministic");
  }
  partials_.push_back(partial);
  return std::nullopt;
}

std::optional<Failure> Trajectory::add(const Key& call, Role role, CallResult&& result) {
  const auto mend = [](const std::string& what) {
    return wrong(what + ": mend the lane that answered");
  };
  if (role == Role::kPlanner) {
    auto* plan = std::get_if<Plan>(&result);
    if (plan == nullptr) return mend("a plan call was not answered with a plan");
    const auto limit = static_cast<std::size_t>(spec_.max_steps);
    if (plan->steps.size() > limit) {
      plan->steps.resize(limit);
      plan->truncated = true;
    }
    graft(*plan);
    if (plan->steps.size() < steps_.size() ||
        !std::equal(steps_.begin(), steps_.end(), plan->steps.begin())) {
      return mend("the plan differs from the steps that were streamed");
    }
  } else if (role == Role::kGenerator) {
    const auto* image = std::get_if<Image>(&result);
    if (image == nullptr) return mend("a generate call was not answered with an image");
    if (image->key != call) return mend("an image does not carry the key of its call");
    held_.push_back(call);
  } else {
    auto* verdict = std::get_if<Verdict>(&result);
    if (verdict == nullptr) return mend("a judge call was not answered with a verdict");
    if (!verdict->readable) verdict->accepted = false;
    if (!verdict->readable || verdict->accepted) verdict->refined.reset();
    for (const VerdictKnown& known : partials_) {
      if (known.call == call && (!verdict->readable || known.accepted != verdict->accepted)) {
        return mend("the verdict differs from the one that was streamed");
      }
    }
  }
  results_.emplace_back(call, std::move(result));
  return std::nullopt;
}

// Of a plan's step: a second reading goes on where the first one's numbers end.
int Trajectory::number_of(int index, int own) const {
  if (standing_ == 0) return own;
  const std::int64_t last = steps_[static_cast<std::size_t>(standing_) - 1].step_number;
  return static_cast<int>(last + index - standing_ + 1);
}

// Makes a second reading the whole plan: the first one's steps, and what comes after them.
void Trajectory::graft(Plan& second) const {
  std::vector<PlanStep>& steps = second.steps;
  const auto standing = static_cast<std::size_t>(standing_);
  if (steps.size() < standing) {
    steps.resize(standing);
    second.truncated = true;
  }
  std::copy_n(steps_.begin(), standing, steps.begin());
  for (std::size_t i = standing; i < steps.size(); ++i) {
    steps[i].step_number = number_of(static_cast<int>(i), steps[i].step_number);
  }
}

CallResult* Trajectory::find(const Key& key) noexcept {
  const auto found = std::ranges::find(results_, key, &std::pair<Key, CallResult>::first);
  return found == results_.end() ? nullptr : &found->second;
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

// What every call says; the rest and its key are its role's.
Call Trajectory::call_of(Role role, const Cursor& at) const {
  Call call;
  call.role = role;
  call.request = id_;
  call.step = at.step;
  call.attempt = at.attempt;
  call.retry = at.retry;
  call.seed = seed_of(spec_.seed, spec_.seed_rule, role, at.step, at.attempt, at.retry);
  call.source = at.source;
  call.optimizations = spec_.optimizations;
  return call;
}

Call Trajectory::generate_call(const Cursor& at) const {
  Call call = call_of(Role::kGenerator, at);
  call.prompt = used_prompt(at);
  call.images = at.earlier;
  call.width = spec_.width;
  call.height = spec_.height;
  call.denoising_steps = spec_.denoising_steps;
  call.key = key_of(call);
  return call;
}

Call Trajectory::judge_call(const Cursor& at) const {
  Call call = call_of(Role::kCritic, at);
  call.prompt = used_prompt(at);
  call.original = *step_at(at).prompt;
  call.image = at.image;
  call.key = key_of(call);
  return call;
}

// ---- the program, read over its facts -------------------------------------------------------

void Trajectory::read(const AcceptOdds& odds, int max_beyond, Progress& out) {
  if (ended_) return;
  if (!opened_) open(out);
  Walk walk{odds, max_beyond, out};
  if (!read_plan(walk)) return;
  announce(out);
  walk.at = cursor_;
  read_steps(walk);
  if (walk.commit) cursor_ = std::move(walk.at);
  if (plan_done_ && walk.commit && cursor_.step >= usable_) {
    end(Outcome::kFinished, std::nullopt, out);
  } else {
    settle(walk, out);
  }
}

void Trajectory::end(Outcome outcome, std::optional<Failure> failure, Progress& out) {
  ended_ = true;
  out.pending_calls.clear();
  out.notices.emplace_back(RequestEnded{outcome, std::move(failure), plan_truncated_});
  out.ended = true;
  for (const auto& entry : results_) out.wasted.push_back(entry.first);
  out.released.insert(out.released.end(), held_.begin(), held_.end());
  results_.clear();
  partials_.clear();
  held_.clear();
}

void Trajectory::open(Progress& out) {
  opened_ = true;
  if (!spec_.optimizations.cache_vision) return;
  for (const Role role : {Role::kCritic, Role::kGenerator}) {
    if (role == Role::kGenerator && !cursor_.source) continue;  // the critic's white picture
    out.prefetches.push_back({-1,
                              {.what = Prefetch::What::kImageFeatures,
                               .role = role,
                               .request = id_,
                               .text = {},
                               .image = cursor_.source}});
  }
}

bool Trajectory::read_plan(Walk& walk) {
  while (!plan_done_) {
    CallResult* result = find(plan_call_->key);
    if (result == nullptr) {
      walk.add_pending(plan_call_);
      for (const Key& image : spec_.images) walk.need(image);
      return true;
    }
    auto plan = std::move(std::get<Plan>(*result));
    walk.out.consumed.push_back({plan_call_->key, Role::kPlanner});
    forget(plan_call_->key);
    const bool again = plan_call_->retry == 0;
    walk.out.plans_unreadable += plan.readable() ? 0 : 1;
    if (!plan.readable() && !again) {
      end(Outcome::kFailed,
          Failure{ErrorCode::kBackendFailed,
                  "[Trajectory.plan] planner answer unreadable, twice: Result.trace (run --trace "
                  "FILE) holds both; where one stopped by its length, raise max_new_tokens of the "
                  "planner"},
          walk.out);
      return false;
    }
    plan_truncated_ = plan.truncated;
    plan_done_ = plan.readable() && !(again && plan.violated);
    steps_ = std::move(plan.steps);
    if (plan_done_) break;
    standing_ = static_cast<int>(steps_.size());
    auto second = std::make_shared<Call>(*plan_call_);
    second->retry = 1;
    second->seed = seed_of(spec_.seed, spec_.seed_rule, second->role, 0, 0, second->retry);
    second->key = key_of(*second);
    plan_call_ = std::move(second);
  }
  return true;
}

void Trajectory::announce(Progress& out) {
  if (!plan_done_ && !spec_.optimizations.stream_plan) return;
  for (; usable_ < static_cast<int>(steps_.size()); ++usable_) {
    const PlanStep& step = steps_[static_cast<std::size_t>(usable_)];
    out.notices.emplace_back(PlanStepReady{usable_, step});
    if (!step.has_image() || !spec_.optimizations.encode_text_ahead) continue;
    out.prefetches.push_back({usable_, {.request = id_, .text = *step.prompt, .image = {}}});
  }
}

void Trajectory::read_steps(Walk& walk) {
  while (walk.at.step < usable_) {
    if (!step_at(walk.at).has_image()) {
      finish_step(walk, walk.at.source, std::nullopt);
      continue;
    }
    if (!walk.commit) {
      walk.need(walk.at.source);
      walk.need(walk.at.best);
    }
    const bool go_on = walk.at.stage == Stage::kGenerate ? read_image(walk) : read_verdict(walk);
    if (!go_on) return;
  }
}

bool Trajectory::read_image(Walk& walk) {
  Call call = generate_call(walk.at);
  CallResult* result = find(call.key);
  if (result == nullptr) {
    walk.add_pending(std::make_shared<const Call>(std::move(call)));
    return false;
  }
  walk.at.image = call.key;
  if (walk.commit) {
    Attempt attempt{.number = walk.at.attempt,
                    .prompt = std::move(call.prompt),
                    .seed = call.seed,
                    .image = std::get<Image>(*result),
                    .verdict = {}};
    walk.out.notices.emplace_back(AttemptReady{walk.at.step, attempt});
    attempts_.push_back(std::move(attempt));
    walk.out.consumed.push_back({call.key, call.role});
    forget(call.key);
  } else {
    walk.visited.push_back(call.key);
    walk.need(call.key);
  }
  if (judged(walk.at.attempt)) {
    walk.at.stage = Stage::kJudge;
  } else {
    finish_step(walk, walk.at.image, std::nullopt);
  }
  return true;
}

bool Trajectory::read_verdict(Walk& walk) {
  Call call = judge_call(walk.at);
  CallResult* result = find(call.key);
  if (result == nullptr) return read_past_unknown(walk, std::move(call));
  if (walk.commit) {
    const Verdict verdict = std::move(std::get<Verdict>(*result));
    walk.out.consumed.push_back({call.key, call.role});
    forget(call.key);
    if (!verdict.readable) ++walk.out.verdicts_unreadable;
    take_verdict(walk, verdict);
  } else {
    walk.visited.push_back(call.key);
    walk.need(walk.at.image);
    take_verdict(walk, std::get<Verdict>(*result));
  }
  return true;
}

// The verdict is not at hand: read on as if the attempt were accepted, unless it is known that it
// is not. Where the verdict cannot change what follows, the guess is a certainty; it is still
// counted as one verdict ahead, for without speculation the program waits for it.
bool Trajectory::read_past_unknown(Walk& walk, Call&& judge) {
  const VerdictKnown* partial = nullptr;
  for (const VerdictKnown& known : partials_) {
    if (known.call == judge.key && spec_.optimizations.early_verdict) partial = &known;
  }
  const int attempt = walk.at.attempt;
  walk.need(walk.at.image);
  walk.add_pending(std::make_shared<const Call>(std::move(judge)));
  const bool said_no = partial != nullptr && !partial->accepted && matters(attempt);
  if (said_no && attempt < spec_.t_max) return false;
  const bool sure = partial != nullptr && partial->accepted && counts(attempt);
  const Cursor& at = walk.at;  // keep=best: the refused attempt may be the best all the same
  const bool other = said_no && at.best && partial->p_success < at.best_p;
  const Key guess = other ? at.best : at.image;
  if (walk.commit) {
    walk.commit = false;
    cursor_ = walk.at;
    walk.need(cursor_.source);
    walk.need(cursor_.best);
  }
  if (!sure) {
    if (++walk.beyond > walk.max_beyond) return false;
    if (matters(attempt) && !said_no) {
      walk.probability *= walk.odds[static_cast<std::size_t>(attempt)];
      walk.after_retry = walk.after_retry || attempt > 1;
    }
  }
  finish_step(walk, guess, std::nullopt);
  return true;
}

void Trajectory::take_verdict(Walk& walk, const Verdict& verdict) {
  Cursor& at = walk.at;
  if (!counts(at.attempt)) return finish_step(walk, at.image, std::nullopt);
  if (!verdict.readable) {
    if (at.retry == 1) return finish_step(walk, at.image, std::nullopt);
    at.retry = 1;
    return;
  }
  if (walk.commit) {
    Attempt& attempt = attempts_.back();
    attempt.verdict = verdict;
    attempt.refused_unreadable = !verdict.accepted && !verdict.refined;
    walk.out.notices.emplace_back(VerdictReady{at.step, at.attempt, verdict});
  }
  if (verdict.accepted) return finish_step(walk, at.image, true);
  if (spec_.keep == Keep::kBest && (!at.best || verdict.p_success >= at.best_p)) {
    at.best = at.image;
    at.best_p = verdict.p_success;
  }
  if (at.attempt == spec_.t_max) {
    return finish_step(walk, spec_.keep == Keep::kBest ? at.best : at.image, false);
  }
  at.prompt = verdict.refined ? *verdict.refined : used_prompt(at);
  ++at.attempt;
  at.stage = Stage::kGenerate;
  at.retry = 0;
  at.image = Key{};
}

void Trajectory::finish_step(Walk& walk, const Key& final_image, std::optional<bool> accepted) {
  if (walk.commit) {
    StepResult result;
    result.plan = step_at(walk.at);
    result.attempts = std::move(attempts_);
    if (result.plan.has_image()) {
      result.image = final_image;
      result.accepted = accepted;
    }
    walk.out.notices.emplace_back(StepCommitted{walk.at.step, std::move(result)});
    attempts_.clear();
  }
  Cursor next{
      .step = walk.at.step + 1, .source = walk.at.source, .earlier = std::move(walk.at.earlier)};
  if (step_at(walk.at).has_image()) go_on_from(next, final_image);
  walk.at = std::move(next);
}

void Trajectory::go_on_from(Cursor& at, const Key& image) const {
  if (at.source && spec_.references > 1) at.earlier.push_back(at.source);
  if (at.earlier.size() >= static_cast<std::size_t>(spec_.references)) {
    at.earlier.erase(at.earlier.begin());
  }
  at.source = image;
}

void Trajectory::settle(const Walk& walk, Progress& out) {
  std::erase_if(results_, [&](const auto& entry) {
    if (contains(walk.visited, entry.first)) return false;
    out.wasted.push_back(entry.first);
    return true;
  });
  std::erase_if(partials_, [&](const VerdictKnown& known) {
    return std::ranges::none_of(out.pending_calls, [&](const PendingCall& pending) {
      return pending.call->key == known.call;
    });
  });
  std::erase_if(held_, [&](const Key& image) {
    const bool keep = contains(walk.needed, image) || image == cursor_.source ||
                      image == cursor_.image || image == cursor_.best ||
                      contains(cursor_.earlier, image);
    if (!keep) out.released.push_back(image);
    return !keep;
  });
}

}  // namespace irt
