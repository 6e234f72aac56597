#include "script.h"

#include <algorithm>

namespace irt::test {
namespace {

enum What : std::uint64_t {
  kFails = 1,
  kUnreadable,
  kTruncated,
  kViolated,
  kLost,
  kAccept,
  kScore,
  kRefined,
  kTime,
  kSpeculationFails,
  kExtraText,
  kTextOnly = 1000,  // + step
  kClosed = 2000,    // + step
};

}  // namespace

double chance(const Script& script, const Key& call, std::uint64_t what) {
  const std::uint64_t bits = mix64(mix64(call.hi ^ script.seed) ^ call.lo ^ (what << 32));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

std::variant<CallResult, Failure> Script::result(const Call& call) const {
  const auto draw = [&](std::uint64_t what) { return chance(*this, call.key, what); };
  if (draw(kFails) < call_fails) {
    return Failure{ErrorCode::kBackendFailed, "[Script] the call fails"};
  }
  if (call.role == Role::kGenerator) {
    return CallResult{Image{call.key, mix64(call.key.hi ^ seed)}};
  }
  if (call.role == Role::kPlanner) {
    Plan plan;
    if (draw(kUnreadable) < plan_unreadable) return CallResult{plan};
    for (int i = 0; i < std::min(plan_steps, call.max_steps); ++i) {
      PlanStep step;
      step.step_number = i + 1 + call.retry;  // a second reading may number otherwise
      step.step_name = "step " + std::to_string(i + 1);
      if (draw(kTextOnly + static_cast<std::uint64_t>(i)) < text_only) {
        step.auxiliary_text = "text " + std::to_string(i);
      } else {
        step.instruction = "do " + std::to_string(i);
        step.prompt = "p" + std::to_string(i) + "." + std::to_string(seed);
        if (call.retry > 0) *step.prompt += " again";
      }
      plan.steps.push_back(std::move(step));
    }
    plan.violated = draw(kViolated) < plan_violated;
    plan.truncated = plan.violated || draw(kTruncated) < plan_truncated;
    if (plan.violated) {
      const auto all = static_cast<double>(plan.steps.size());
      plan.steps.resize(static_cast<std::size_t>(draw(kLost) * (all + 1)));
    }
    return CallResult{plan};
  }
  Verdict verdict;
  verdict.reasoning = "because";
  verdict.readable = draw(kUnreadable) >= verdict_unreadable;
  if (!verdict.readable) return CallResult{verdict};
  verdict.accepted = draw(kAccept) < accept;
  // Coarse on purpose: keep=best must meet ties.
  verdict.p_success = static_cast<double>(static_cast<int>(draw(kScore) * 4)) / 4.0;
  const std::string refined = call.prompt + "'";
  if (verdict.accepted) {
    if (draw(kExtraText) < 0.5) verdict.refined = refined;  // must not reach the result
  } else if (draw(kRefined) >= refined_unreadable) {
    verdict.refined = refined;
  }
  return CallResult{verdict};
}

SimAnswer Script::answer(const StartCall& start) const {
  const Call& call = start.call;
  const auto draw = [&](std::uint64_t what) { return chance(*this, call.key, what); };
  SimAnswer answer;
  answer.end = result(call);
  const TimePoint base = call.role == Role::kPlanner     ? plan_time
                         : call.role == Role::kGenerator ? generate_time
                                                         : judge_time;
  answer.work = static_cast<TimePoint>(static_cast<double>(base) * (0.5 + draw(kTime)));
  if (start.speculative && draw(kSpeculationFails) < speculation_fails) {
    answer.end = Failure{ErrorCode::kBackendFailed, "[Script] a speculative run fails"};
    return answer;
  }
  answer.accepted_tail = accepted_tail;
  if (!stream) return answer;
  if (call.role == Role::kPlanner) {
    for (int i = 0; i < plan_steps; ++i) {
      answer.steps_closed.push_back(answer.work * (i + 1) / (plan_steps + 1));
    }
  } else if (call.role == Role::kCritic) {
    answer.verdict_known = static_cast<TimePoint>(static_cast<double>(answer.work) * verdict_share);
  }
  return answer;
}

SimModel model_of(std::vector<Script> scripts) {
  return [scripts = std::move(scripts)](const StartCall& start) {
    return scripts[static_cast<std::size_t>(start.call.request) % scripts.size()].answer(start);
  };
}

}  // namespace irt::test
