// One request as the plain sequential program, read over the results that are at hand.
//
//   plan
//   for each step i with a prompt:
//     for each attempt t: generate from the final image of the image step before; judge;
//       accepted: next step; refused: the next attempt, with the refined prompt
//     the t_max-th attempt stands
//
// What a reading yields depends on the facts, not on the order in which they came (only that plan
// steps are told as they close). A cursor remembers how far the committed part was read, so that
// a reading costs what is new.
//
// Rules that are easily got wrong
//   * An unreadable planner answer is sampled once more (retry 1), then the request fails. One that
//     was violated after some steps is sampled once more as well: these stand, and of the second
//     reading only the steps after them are taken.
//   * An unreadable verdict is asked for once more (retry 1); unreadable again = "not judged": the
//     attempt is final, `accepted` is absent, and neither keep=best nor t_max changes that.
//   * Refused with an unreadable refined prompt: the used prompt is kept for the next attempt.
//   * The t_max-th attempt is judged only with judge_last or keep=best. Without skip_last_judge it
//     is judged as well and waited for, and the verdict is dropped (its failure is a failure all
//     the same).
//   * keep=best, all t_max attempts refused: the highest p_success is final, of equals the latest.
//     It may return to a result that was dropped: then the call is made again, with the same key.
//   * A partial verdict (with early_verdict) decides what runs next at once; it is committed with
//     CallDone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/message.h"
#include "sched/policy.h"

namespace irt {

// A call that the program is blocked on, or will probably ask for.
struct PendingCall {
  std::shared_ptr<const Call> call;
  bool certain = true;       // will be asked for, whatever the verdicts under way say
  int beyond = 0;            // unverified verdicts that it lies beyond
  bool after_retry = false;  // one of them judges an attempt > 1
  double probability = 1.0;  // that it will be asked for
};

struct StepPrefetch {
  int step = -1;  // the plan step that it is for; -1 = for the request
  Prefetch prefetch;
};

struct CallRef {
  Key key;
  Role role = Role::kPlanner;
};

// What one reading yields; reuse the object, its vectors keep their room.
struct Progress {
  std::vector<Notice> notices;             // new ones; RequestEnded last
  std::vector<CallRef> consumed;           // results that the program took
  std::vector<PendingCall> pending_calls;  // in program order
  std::vector<Key> wasted;                 // results at hand that the program has turned away from
  std::vector<Key> released;               // images that are needed no longer, each once
  std::vector<StepPrefetch> prefetches;    // new ones
  int plans_unreadable = 0;                // planner answers consumed without a step in them
  int verdicts_unreadable = 0;             // critic answers consumed without a boolean in them
  bool ended = false;                      // the last notice is RequestEnded

  void clear();
};

class Trajectory {
 public:
  // The spec has been validated. Holds every distinct input image until it is released.
  Trajectory(RequestId id, RequestSpec spec);

  // Facts about calls that were pending after the last reading. A Failure is returned where an
  // answer contradicts its call or what was said before; then nothing was taken.
  [[nodiscard]] std::optional<Failure> add(StepClosed&& partial);
  [[nodiscard]] std::optional<Failure> add(const VerdictKnown& partial);
  [[nodiscard]] std::optional<Failure> add(const Key& call, Role role, CallResult&& result);

  // Reads on from the cursor, beyond at most so many unverified verdicts.
  void read(const AcceptOdds& odds, int max_beyond, Progress& out);

  // Ends the program here; everything held is released.
  void end(Outcome outcome, std::optional<Failure> failure, Progress& out);

  // Without its text, which is the plan call's prompt.
  [[nodiscard]] const RequestSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] const std::vector<Key>& held() const noexcept { return held_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  enum class Stage { kGenerate, kJudge };
  struct Cursor {
    int step = 0;
    int attempt = 1;
    Stage stage = Stage::kGenerate;
    int retry = 0;               // of the judgement
    Key source{};                // final image of the image step before, last input image, or none
    std::vector<Key> earlier{};  // of the story before `source`, where an image starts from more
    Key image{};                 // of the attempt under judgement
    std::string prompt{};        // in use, from attempt 2 on
    Key best{};                  // keep=best: of the refused attempts of this step
    double best_p = 0.0;
  };
  struct Walk;  // one reading under way

  [[nodiscard]] const PlanStep& step_at(const Cursor& at) const;
  [[nodiscard]] const std::string& used_prompt(const Cursor& at) const;
  [[nodiscard]] bool counts(int attempt) const noexcept;   // its verdict is part of the result
  [[nodiscard]] bool judged(int attempt) const noexcept;   // it is judged at all
  [[nodiscard]] bool matters(int attempt) const noexcept;  // its verdict decides what comes next
  [[nodiscard]] Call call_of(Role role, const Cursor& at) const;
  [[nodiscard]] Call generate_call(const Cursor& at) const;
  [[nodiscard]] Call judge_call(const Cursor& at) const;
  [[nodiscard]] int number_of(int index, int own) const;
  void graft(Plan& second) const;
  [[nodiscard]] CallResult* find(const Key& key) noexcept;
  void forget(const Key& key);

  void open(Progress& out);      // prefetches that need no plan
  bool read_plan(Walk& walk);    // false: the request has failed
  void announce(Progress& out);  // plan steps that have become usable
  void read_steps(Walk& walk);
  bool read_image(Walk& walk);  // false: nothing beyond it can be read
  bool read_verdict(Walk& walk);
  bool read_past_unknown(Walk& walk, Call&& judge);
  void take_verdict(Walk& walk, const Verdict& verdict);
  void finish_step(Walk& walk, const Key& final_image, std::optional<bool> accepted);
  void go_on_from(Cursor& at, const Key& image) const;  // the story's newest picture
  void settle(const Walk& walk, Progress& out);         // drops and releases what was not visited

  RequestId id_;
  RequestSpec spec_;

  // facts
  std::vector<PlanStep> steps_;
  std::vector<std::pair<Key, CallResult>> results_;  // at hand and not consumed
  std::vector<VerdictKnown> partials_;
  std::vector<Key> held_;

  // the committed part
  std::shared_ptr<const Call> plan_call_;  // holds the request's text
  bool plan_done_ = false;
  bool plan_truncated_ = false;
  int standing_ = 0;  // steps of a first, violated reading of the plan
  int usable_ = 0;    // plan steps announced
  Cursor cursor_;
  std::vector<Attempt> attempts_;  // of the step at the cursor
  bool opened_ = false;
  bool ended_ = false;
};

}  // namespace irt
