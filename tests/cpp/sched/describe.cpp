#include "describe.h"

#include <string>
#include <string_view>
#include <type_traits>

namespace irt::test {
namespace {

std::string brief(const Key& key) { return key ? to_hex(key).substr(0, 8) : "none"; }

void put(std::string& out, std::string_view text) { out += text; }
template <typename Number>
  requires std::is_arithmetic_v<Number>
void put(std::string& out, Number number) {
  out += std::to_string(number);
}
template <typename... Parts>
std::string say(const Parts&... parts) {
  std::string out;
  (put(out, parts), ...);
  return out;
}

std::string text(const Call& call) {
  return say(brief(call.key), " ", call_name(call.role), " request ", call.request, " step ",
             call.step, " attempt ", call.attempt, " retry ", call.retry, " source ",
             brief(call.source), " image ", brief(call.image), " seed ", call.seed, " prompt '",
             call.prompt, "' original '", call.original, "' images ", call.images.size(),
             call.optimizations.early_verdict ? " early" : "");
}

std::string text(const Attempt& attempt) {
  return say(attempt.number, " ", brief(attempt.image.key), " seed ", attempt.seed, " prompt '",
             attempt.prompt, "'", attempt.refused_unreadable ? " unreadable" : "");
}

std::string text(const Verdict& verdict) {
  return say(verdict.accepted ? "accepted " : "refused ", verdict.p_success, " refined '",
             verdict.refined.value_or("none"), "'");
}

struct Words {
  std::string operator()(const Submit& it) const {
    const RequestSpec& spec = it.spec;
    return say("Submit ", it.request, " t_max ", spec.t_max, " speculation ",
               static_cast<int>(spec.speculation.mode), "/", spec.speculation.depth, " keep ",
               static_cast<int>(spec.keep), " images ", spec.images.size(), " references ",
               spec.references, spec.deadline == kNever ? "" : say(" deadline ", spec.deadline));
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
    return say("LaneUp ", it.lane.id, " role ", static_cast<int>(it.lane.role), " capacity ",
               it.lane.capacity, " on ", it.lane.device);
  }
  std::string operator()(const LaneDown& it) const { return "LaneDown " + std::to_string(it.lane); }
  std::string operator()(const CancelRequest& it) const {
    return "CancelRequest " + std::to_string(it.request);
  }
  std::string operator()(const Consumed& it) const {
    return "Consumed " + std::to_string(it.request);
  }
  std::string operator()(const Tick&) const { return "Tick"; }
  std::string operator()(const ImageRoom& it) const {
    return say("ImageRoom ", it.little ? "little" : "enough", it.only ? ", only " : "",
               it.only ? std::to_string(*it.only) : "");
  }

  std::string operator()(const StartCall& it) const {
    return say("StartCall lane ", it.lane, it.speculative ? " ahead " : " ", text(it.call));
  }
  std::string operator()(const PromoteCall& it) const { return "PromoteCall " + brief(it.call); }
  std::string operator()(const CancelCall& it) const { return "CancelCall " + brief(it.call); }
  std::string operator()(const SendPrefetch& it) const {
    return say("SendHint lane ", it.lane, " role ", static_cast<int>(it.prefetch.role), " '",
               it.prefetch.text, "' image ", brief(it.prefetch.image));
  }
  std::string operator()(const ReleaseImage& it) const {
    return say("ReleaseImage request ", it.request, " ", brief(it.image));
  }
  std::string operator()(const Deliver& it) const {
    return say("Deliver request ", it.request, " ", std::visit(*this, it.notice));
  }
  std::string operator()(const Refuse& it) const {
    return say("Refuse ", it.request, " ", it.failure.message);
  }

  std::string operator()(const PlanStepReady& it) const {
    return say("plan step ", it.index, " '", it.step.prompt.value_or("none"), "'");
  }
  std::string operator()(const AttemptReady& it) const {
    return say("attempt ", it.step, ".", text(it.attempt));
  }
  std::string operator()(const VerdictReady& it) const {
    return say("verdict ", it.step, ".", it.attempt, " ", text(it.verdict));
  }
  std::string operator()(const StepCommitted& it) const {
    std::string out =
        say("step ", it.step, " committed, image ", brief(it.result.image.value_or(Key{})),
            " accepted ", it.result.accepted ? (*it.result.accepted ? "true" : "false") : "none");
    for (const Attempt& attempt : it.result.attempts) {
      out += say(", ", text(attempt));
      if (attempt.verdict) out += say(" ", text(*attempt.verdict));
    }
    return out;
  }
  std::string operator()(const RequestEnded& it) const {
    static constexpr const char* kOutcomes[] = {"finished", "failed", "cancelled", "deadline"};
    return say("ended: ", kOutcomes[static_cast<int>(it.outcome)],
               it.plan_truncated ? ", plan truncated" : "",
               it.failure ? say(" ", it.failure->message) : "");
  }
};

}  // namespace

std::string describe(TimePoint now, const Event& event, const std::vector<Command>& commands,
                     const std::vector<DecisionNote>& decisions) {
  std::string out = say(now, "  ", std::visit(Words{}, event), "\n");
  for (const DecisionNote& note : decisions) {
    const SpeculationDecision& said = note.decision;
    out += say("          decision ", brief(note.call), said.start ? " yes, " : " no, ",
               to_string(said.reason), ", p ", said.p, " gain ", said.gain, "\n");
  }
  for (const Command& command : commands) {
    out += say("          ", std::visit(Words{}, command), "\n");
  }
  return out;
}

}  // namespace irt::test
