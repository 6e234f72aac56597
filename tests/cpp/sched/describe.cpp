#include "describe.h"

#include <string>

namespace irt::test {
namespace {

std::string brief(const Key& key) { return key ? to_hex(key).substr(0, 8) : "none"; }

std::string text(const Call& call) {
  return brief(call.key) + " " + call_name(call.role) + " request " + std::to_string(call.request) +
         " step " + std::to_string(call.step) + " attempt " + std::to_string(call.attempt) +
         " retry " + std::to_string(call.retry) + " source " + brief(call.source) + " image " +
         brief(call.image) + " seed " + std::to_string(call.seed) + " prompt '" + call.prompt +
         "' original '" + call.original + "' images " + std::to_string(call.images.size()) +
         (call.optimizations.early_verdict ? " early" : "");
}

std::string text(const Attempt& attempt) {
  return std::to_string(attempt.number) + " " + brief(attempt.image.key) + " seed " +
         std::to_string(attempt.seed) + " prompt '" + attempt.prompt + "'" +
         (attempt.refused_unreadable ? " unreadable" : "");
}

std::string text(const Verdict& verdict) {
  return std::string(verdict.accepted ? "accepted " : "refused ") +
         std::to_string(verdict.p_success) + " refined '" + verdict.refined.value_or("none") + "'";
}

struct Words {
  std::string operator()(const Submit& it) const {
    const RequestSpec& spec = it.spec;
    return "Submit " + std::to_string(it.request) + " t_max " + std::to_string(spec.t_max) +
           " speculation " + std::to_string(static_cast<int>(spec.speculation.mode)) + "/" +
           std::to_string(spec.speculation.depth) + " keep " +
           std::to_string(static_cast<int>(spec.keep)) + " images " +
           std::to_string(spec.images.size()) +
           (spec.deadline == kNever ? "" : " deadline " + std::to_string(spec.deadline));
  }
  std::string operator()(const StepClosed& it) const {
    return "StepClosed " + brief(it.call) + " index " + std::to_string(it.index);
  }
  std::string operator()(const VerdictKnown& it) const {
    return "VerdictKnown " + brief(it.call) + (it.accepted ? " true" : " false");
  }
  std::string operator()(const CallDone& it) const {
    static constexpr const char* kResults[] = {"plan", "image", "verdict"};
    return "CallDone " + brief(it.call) + " " + kResults[it.result.index()];
  }
  std::string operator()(const CallFailed& it) const {
    return "CallFailed " + brief(it.call) + " " + it.failure.message;
  }
  std::string operator()(const CallCancelled& it) const {
    return "CallCancelled " + brief(it.call);
  }
  std::string operator()(const LaneUp& it) const {
    return "LaneUp " + std::to_string(it.lane.id) + " role " +
           std::to_string(static_cast<int>(it.lane.role)) + " capacity " +
           std::to_string(it.lane.capacity) + " on " + it.lane.device;
  }
  std::string operator()(const LaneDown& it) const { return "LaneDown " + std::to_string(it.lane); }
  std::string operator()(const CancelRequest& it) const {
    return "CancelRequest " + std::to_string(it.request);
  }
  std::string operator()(const Consumed& it) const {
    return "Consumed " + std::to_string(it.request);
  }
  std::string operator()(const Tick&) const { return "Tick"; }

  std::string operator()(const StartCall& it) const {
    return "StartCall lane " + std::to_string(it.lane) + (it.speculative ? " ahead " : " ") +
           text(it.call);
  }
  std::string operator()(const PromoteCall& it) const { return "PromoteCall " + brief(it.call); }
  std::string operator()(const CancelCall& it) const { return "CancelCall " + brief(it.call); }
  std::string operator()(const SendPrefetch& it) const {
    return "SendHint lane " + std::to_string(it.lane) + " role " +
           std::to_string(static_cast<int>(it.prefetch.role)) + " '" + it.prefetch.text +
           "' image " + brief(it.prefetch.image);
  }
  std::string operator()(const ReleaseImage& it) const {
    return "ReleaseImage request " + std::to_string(it.request) + " " + brief(it.image);
  }
  std::string operator()(const Deliver& it) const {
    return "Deliver request " + std::to_string(it.request) + " " + std::visit(*this, it.notice);
  }
  std::string operator()(const Refuse& it) const {
    return "Refuse " + std::to_string(it.request) + " " + it.failure.message;
  }

  std::string operator()(const PlanStepReady& it) const {
    return "plan step " + std::to_string(it.index) + " '" + it.step.prompt.value_or("none") + "'";
  }
  std::string operator()(const AttemptReady& it) const {
    return "attempt " + std::to_string(it.step) + "." + text(it.attempt);
  }
  std::string operator()(const VerdictReady& it) const {
    return "verdict " + std::to_string(it.step) + "." + std::to_string(it.attempt) + " " +
           text(it.verdict);
  }
  std::string operator()(const StepCommitted& it) const {
    std::string out = "step " + std::to_string(it.step) + " committed, image " +
                      brief(it.result.image.value_or(Key{})) + " accepted " +
                      (it.result.accepted ? (*it.result.accepted ? "true" : "false") : "none");
    for (const Attempt& attempt : it.result.attempts) {
      out.append(", ").append(text(attempt));
      if (attempt.verdict) out.append(" ").append(text(*attempt.verdict));
    }
    return out;
  }
  std::string operator()(const RequestEnded& it) const {
    static constexpr const char* kOutcomes[] = {"finished", "failed", "cancelled", "deadline"};
    return std::string("ended: ") + kOutcomes[static_cast<int>(it.outcome)] +
           (it.plan_truncated ? ", plan truncated" : "") +
           (it.failure ? " " + it.failure->message : "");
  }
};

}  // namespace

std::string describe(TimePoint now, const Event& event, const std::vector<Command>& commands,
                     const std::vector<DecisionNote>& decisions) {
  std::string out = std::to_string(now) + "  " + std::visit(Words{}, event) + "\n";
  for (const DecisionNote& note : decisions) {
    const SpeculationDecision& said = note.decision;
    out += "          decision " + brief(note.call) + (said.start ? " yes, " : " no, ") +
           to_string(said.reason) + ", p " + std::to_string(said.p) + " gain " +
           std::to_string(said.gain) + "\n";
  }
  for (const Command& command : commands) {
    out += "          " + std::visit(Words{}, command) + "\n";
  }
  return out;
}

std::string describe(const Notice& notice) { return std::visit(Words{}, notice); }

}  // namespace irt::test
