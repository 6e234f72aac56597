// The program, read over its facts (facts.cpp).
#include "sched/trajectory.h"

#include <algorithm>

namespace irt {
namespace {

bool contains(const std::vector<Key>& keys, const Key& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

}  // namespace

// `at` runs ahead of the cursor once `commit` is false: from there on nothing is certain enough to
// be told, and (beyond > 0) not even that it will be asked for.
struct Trajectory::Look {
  const AcceptOdds& odds;
  int limit;
  Reading& out;
  Cursor at;
  bool commit = true;
  int beyond = 0;
  bool after_retry = false;
  double probability = 1.0;
  std::vector<Key> visited;  // results used without being consumed
  std::vector<Key> needed;   // images

  void need(const Key& image) {
    if (image) needed.push_back(image);
  }
  void want(Call&& call) {
    Want& want = out.wants.emplace_back();
    want.call = std::move(call);
    want.certain = beyond == 0;
    want.beyond = beyond;
    want.after_retry = after_retry;
    want.probability = probability;
  }
};

void Reading::clear() {
  notices.clear();
  consumed.clear();
  wants.clear();
  dropped.clear();
  released.clear();
  hints.clear();
  plans_unreadable = 0;
  verdicts_unreadable = 0;
  ended = false;
}

void Trajectory::read(const AcceptOdds& odds, int limit, Reading& out) {
  if (ended_) return;
  if (!opened_) open(out);
  Look look{.odds = odds, .limit = limit, .out = out, .at = {}, .visited = {}, .needed = {}};
  if (!read_plan(look)) return;
  announce(out);
  look.at = cursor_;
  read_steps(look);
  if (look.commit) cursor_ = std::move(look.at);
  if (plan_done_ && look.commit && cursor_.step >= usable_) {
    end(Outcome::kFinished, std::nullopt, out);
  } else {
    settle(look, out);
  }
}

void Trajectory::end(Outcome outcome, std::optional<Failure> failure, Reading& out) {
  ended_ = true;
  out.wants.clear();
  out.notices.emplace_back(RequestEnded{outcome, std::move(failure), plan_truncated_});
  out.ended = true;
  for (const auto& entry : results_) out.dropped.push_back(entry.first);
  out.released.insert(out.released.end(), held_.begin(), held_.end());
  results_.clear();
  partials_.clear();
  held_.clear();
}

void Trajectory::open(Reading& out) {
  opened_ = true;
  if (!spec_.optimizations.cache_vision) return;
  Hint hint;
  hint.what = Hint::What::kImageFeatures;
  hint.request = id_;
  hint.role = Role::kCritic;
  hint.image = cursor_.source;  // none: the critic's white picture
  out.hints.push_back({-1, hint});
  if (cursor_.source) {
    hint.role = Role::kGenerator;
    out.hints.push_back({-1, hint});
  }
}

bool Trajectory::read_plan(Look& look) {
  while (!plan_done_) {
    CallResult* result = find(plan_key_);
    if (result == nullptr) {
      Call call;
      call.key = plan_key_;
      call.role = Role::kPlanner;
      call.request = id_;
      call.retry = plan_retry_;
      look.want(std::move(call));
      for (const Key& image : spec_.images) look.need(image);
      return true;
    }
    auto plan = std::move(std::get<Plan>(*result));
    look.out.consumed.push_back({plan_key_, Role::kPlanner});
    forget(plan_key_);
    if (plan.readable()) {
      steps_ = std::move(plan.steps);
      plan_truncated_ = plan.truncated;
      plan_done_ = true;
    } else {
      ++look.out.plans_unreadable;
      if (plan_retry_ == 1) {
        end(Outcome::kFailed,
            Failure{ErrorCode::kBackendFailed,
                    "[Trajectory.plan] planner answer unreadable, twice: read it in the trace, "
                    "and raise the planner's token limit if it was cut"},
            look.out);
        return false;
      }
      plan_retry_ = 1;
      plan_key_ = plan_call(1).key;
    }
  }
  return true;
}

void Trajectory::announce(Reading& out) {
  if (!plan_done_ && !spec_.optimizations.stream_plan) return;
  for (; usable_ < static_cast<int>(steps_.size()); ++usable_) {
    const PlanStep& step = steps_[static_cast<std::size_t>(usable_)];
    out.notices.emplace_back(PlanStepReady{usable_, step});
    if (!step.has_image() || !spec_.optimizations.encode_text_ahead) continue;
    Hint hint;
    hint.what = Hint::What::kPromptText;
    hint.request = id_;
    hint.text = *step.prompt;
    out.hints.push_back({usable_, std::move(hint)});
  }
}

void Trajectory::read_steps(Look& look) {
  while (look.at.step < usable_) {
    if (!step_at(look.at).has_image()) {
      finish_step(look, look.at.source, std::nullopt);
      continue;
    }
    if (!look.commit) {
      look.need(look.at.source);
      look.need(look.at.best);
    }
    const bool go_on = look.at.stage == Stage::kGenerate ? read_image(look) : read_verdict(look);
    if (!go_on) return;
  }
}

bool Trajectory::read_image(Look& look) {
  Call call = generate_call(look.at);
  CallResult* result = find(call.key);
  if (result == nullptr) {
    look.want(std::move(call));
    return false;
  }
  look.at.image = call.key;
  if (look.commit) {
    Attempt attempt;
    attempt.number = look.at.attempt;
    attempt.prompt = std::move(call.prompt);
    attempt.seed = call.seed;
    attempt.image = std::get<Image>(*result);
    look.out.notices.emplace_back(AttemptReady{look.at.step, attempt});
    attempts_.push_back(std::move(attempt));
    look.out.consumed.push_back({call.key, call.role});
    forget(call.key);
  } else {
    look.visited.push_back(call.key);
    look.need(call.key);
  }
  if (judged(look.at.attempt)) {
    look.at.stage = Stage::kJudge;
  } else {
    finish_step(look, look.at.image, std::nullopt);
  }
  return true;
}

bool Trajectory::read_verdict(Look& look) {
  Call call = judge_call(look.at);
  CallResult* result = find(call.key);
  if (result == nullptr) return read_past_unknown(look, std::move(call));
  if (look.commit) {
    const Verdict verdict = std::move(std::get<Verdict>(*result));
    look.out.consumed.push_back({call.key, call.role});
    forget(call.key);
    if (!verdict.readable) ++look.out.verdicts_unreadable;
    take_verdict(look, verdict);
  } else {
    look.visited.push_back(call.key);
    look.need(look.at.image);
    take_verdict(look, std::get<Verdict>(*result));
  }
  return true;
}

// The verdict is not at hand: read on as if the attempt were accepted, unless it is known that it
// is not. Where the verdict cannot change what follows, the guess is a certainty; it is still
// counted as one verdict ahead, for without speculation the program waits for it.
bool Trajectory::read_past_unknown(Look& look, Call&& call) {
  const VerdictKnown* partial = nullptr;
  for (const VerdictKnown& known : partials_) {
    if (known.call == call.key && spec_.optimizations.early_verdict) partial = &known;
  }
  const int attempt = look.at.attempt;
  look.need(look.at.image);
  look.want(std::move(call));
  const bool said_no = partial != nullptr && !partial->accepted && matters(attempt);
  if (said_no && attempt < spec_.t_max) return false;
  const bool sure = partial != nullptr && partial->accepted && counts(attempt);
  const Cursor& at = look.at;  // keep=best: the refused attempt may be the best all the same
  const bool other = said_no && at.best && partial->p_success < at.best_p;
  const Key guess = other ? at.best : at.image;
  if (look.commit) {
    look.commit = false;
    cursor_ = look.at;
    look.need(cursor_.source);
    look.need(cursor_.best);
  }
  if (!sure) {
    if (++look.beyond > look.limit) return false;
    if (matters(attempt) && !said_no) {
      look.probability *= look.odds[static_cast<std::size_t>(attempt)];
      look.after_retry = look.after_retry || attempt > 1;
    }
  }
  finish_step(look, guess, std::nullopt);
  return true;
}

void Trajectory::take_verdict(Look& look, const Verdict& verdict) {
  Cursor& at = look.at;
  if (!counts(at.attempt)) return finish_step(look, at.image, std::nullopt);
  if (!verdict.readable) {
    if (at.retry == 1) return finish_step(look, at.image, std::nullopt);
    at.retry = 1;
    return;
  }
  if (look.commit) {
    Attempt& attempt = attempts_.back();
    attempt.verdict = verdict;
    attempt.refused_unreadable = !verdict.accepted && !verdict.refined;
    look.out.notices.emplace_back(VerdictReady{at.step, at.attempt, verdict});
  }
  if (verdict.accepted) return finish_step(look, at.image, true);
  if (spec_.keep == Keep::kBest && (!at.best || verdict.p_success >= at.best_p)) {
    at.best = at.image;
    at.best_p = verdict.p_success;
  }
  if (at.attempt == spec_.t_max) {
    return finish_step(look, spec_.keep == Keep::kBest ? at.best : at.image, false);
  }
  at.prompt = verdict.refined ? *verdict.refined : used_prompt(at);
  ++at.attempt;
  at.stage = Stage::kGenerate;
  at.retry = 0;
  at.image = Key{};
}

void Trajectory::finish_step(Look& look, const Key& final_image, std::optional<bool> accepted) {
  const Key source = final_image;  // may live in `at`
  if (look.commit) {
    StepResult result;
    result.plan = step_at(look.at);
    result.attempts = std::move(attempts_);
    if (result.plan.has_image()) {
      result.image = source;
      result.accepted = accepted;
    }
    look.out.notices.emplace_back(StepCommitted{look.at.step, std::move(result)});
    attempts_.clear();
  }
  const int next = look.at.step + 1;
  look.at = Cursor{};
  look.at.step = next;
  look.at.source = source;
}

void Trajectory::settle(const Look& look, Reading& out) {
  std::erase_if(results_, [&](const auto& entry) {
    if (contains(look.visited, entry.first)) return false;
    out.dropped.push_back(entry.first);
    return true;
  });
  std::erase_if(partials_, [&](const VerdictKnown& known) {
    return std::none_of(out.wants.begin(), out.wants.end(),
                        [&](const Want& want) { return want.call.key == known.call; });
  });
  std::erase_if(held_, [&](const Key& image) {
    const bool keep = contains(look.needed, image) || image == cursor_.source ||
                      image == cursor_.image || image == cursor_.best;
    if (!keep) out.released.push_back(image);
    return !keep;
  });
}

}  // namespace irt
