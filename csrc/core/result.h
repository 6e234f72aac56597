// What calls return and what a request commits.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/key.h"

namespace irt {

// The fields as the planner writes them.
struct PlanStep {
  int step_number = 0;
  std::string step_name;
  std::optional<std::string> instruction;
  std::optional<std::string> prompt;
  std::optional<std::string> auxiliary_text;

  // A step without a prompt is text only: nothing is generated for it.
  [[nodiscard]] bool has_image() const noexcept { return prompt.has_value(); }
  friend bool operator==(const PlanStep&, const PlanStep&) = default;
};

// A plan is the sequence of step objects that were closed before the first violation.
struct Plan {
  std::vector<PlanStep> steps;
  bool truncated = false;  // the limit of steps, a violation, or the end of tokens cut the list
  bool violated = false;   // it was a violation: steps may be lost, and it is asked for once more
  std::string reasoning;   // the <think> part, for the trace

  [[nodiscard]] bool readable() const noexcept { return !steps.empty(); }
};

struct Verdict {
  bool readable = false;               // a complete boolean was found
  bool accepted = false;               // previous_step_success
  double p_success = 0.0;              // from the logits of the verdict token
  std::optional<std::string> refined;  // only where accepted is false; empty optional = unreadable
  std::string reasoning;
};

struct Image {
  Key key;                  // equals the key of the call that made it
  std::uint64_t hash;       // of the pixels: what canonical results compare
  bool prompt_cut = false;  // the end of its prompt was not read
};

using CallResult = std::variant<Plan, Image, Verdict>;

// `accepted`: true, false, or absent (not judged).
struct Attempt {
  int number = 1;
  std::string prompt;
  std::uint64_t seed = 0;
  Image image;
  std::optional<Verdict> verdict;
  bool refused_unreadable = false;  // false verdict whose refined prompt could not be read
};

struct StepResult {
  PlanStep plan;
  std::vector<Attempt> attempts;  // empty for a text-only step
  std::optional<Key> image;       // the final image
  std::optional<bool> accepted;   // of the final image
};

enum class Outcome { kFinished, kFailed, kCancelled, kDeadline };

}  // namespace irt
