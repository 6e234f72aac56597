// The engine. The GIL is released around everything that may wait for a lock or another thread.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "bind/bound_engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

using Unlocked = nb::call_guard<nb::gil_scoped_release>;

nb::tuple tuple_of(ReaderEvent&& event) {
  Notice& notice = event.notice;
  if (auto* plan = std::get_if<PlanStepReady>(&notice)) {
    return nb::make_tuple("plan_step", plan->index, std::move(plan->step));
  }
  if (auto* made = std::get_if<AttemptReady>(&notice)) {
    const ImageView view = event.image->pixels.view();
    return nb::make_tuple("attempt_image", made->step, std::move(made->attempt),
                          array_of(view, std::move(event.image)));
  }
  if (auto* judged = std::get_if<VerdictReady>(&notice)) {
    return nb::make_tuple("verdict", judged->step, judged->attempt, std::move(judged->verdict));
  }
  if (auto* step = std::get_if<StepCommitted>(&notice)) {
    return nb::make_tuple("step_committed", step->step, std::move(step->result));
  }
  auto& ended = std::get<RequestEnded>(notice);
  nb::object code = nb::none();
  nb::object message = nb::none();
  if (ended.failure) {
    code = nb::str(to_string(ended.failure->code));
    message = nb::str(ended.failure->message.c_str(), ended.failure->message.size());
  }
  return nb::make_tuple("ended", ended.outcome, code, message, ended.plan_truncated);
}

void bind_config(nb::module_& m) {
  using C = BoundEngineConfig;
  nb::class_<C>(m, "EngineConfig", "Limits of one engine; every queue and store has one.")
      .def(nb::init<>())
      .def_rw("max_live", &C::max_live)
      .def_rw("max_queued", &C::max_queued)
      .def_rw("image_bytes", &C::image_bytes)
      .def_rw("text_cache", &C::text_cache)
      .def_rw("max_unforgotten", &C::max_unforgotten)
      .def_rw("lane_grace_s", &C::lane_grace_s, "How long a request waits for a missing lane.")
      .def_rw("critic_slowdown", &C::critic_slowdown, nb::arg().none(),
              "s_c of a shared device, at least 1; None: learned.")
      .def_rw("generator_rate", &C::generator_rate, nb::arg().none(),
              "r_g of a shared device, over 0 and at most 1; None: learned.")
      .def_rw("batching", &C::batching, "S8: several calls of a role at once on one lane.");
}

void bind_jobs(nb::module_& m) {
  nb::class_<TextJob>(m, "TextJob", "Work for the text worker.")
      .def_ro("id", &TextJob::id)
      .def_prop_ro("kind", [](const TextJob& self) { return call_name(self.role); })
      .def_ro("mode", &TextJob::mode)
      .def_ro("image_count", &TextJob::image_count)
      .def_ro("text", &TextJob::text)
      .def_ro("original", &TextJob::original);
}

void bind_trace(nb::module_& m) {
  nb::class_<Span>(m, "Span", "One run of a call on a lane, times on the engine's clock.")
      .def_ro("lane", &Span::lane_name)
      .def_prop_ro("role", [](const Span& self) { return name_of(self.role); })
      .def_prop_ro("kind", [](const Span& self) { return call_name(self.role); })
      .def_ro("step", &Span::step)
      .def_ro("attempt", &Span::attempt)
      .def_ro("retry", &Span::retry)
      .def_ro("speculative", &Span::speculative)
      .def_ro("queued_us", &Span::queued)
      .def_ro("started_us", &Span::started)
      .def_ro("cancel_us", &Span::cancel, "When it was given up; None: it never was.")
      .def_ro("ended_us", &Span::ended, "None while it runs.")
      .def_prop_ro("outcome", [](const Span& self) { return name_of(self.outcome); })
      .def_ro("used", &Span::used);
  nb::class_<DecisionRecord>(m, "Decision", "Whether to start a call ahead of a verdict, and why.")
      .def_ro("at_us", &DecisionRecord::at)
      .def_prop_ro("started", [](const DecisionRecord& self) { return self.decision.start; })
      .def_prop_ro("reason",
                   [](const DecisionRecord& self) { return to_string(self.decision.reason); })
      .def_prop_ro("p", [](const DecisionRecord& self) { return self.decision.p; })
      .def_prop_ro("gain_us", [](const DecisionRecord& self) { return self.decision.gain; })
      .def_prop_ro("depth", [](const DecisionRecord& self) { return self.decision.depth; })
      .def_prop_ro("role", [](const DecisionRecord& self) { return name_of(self.decision.role); })
      .def_prop_ro("step", [](const DecisionRecord& self) { return self.decision.step; })
      .def_prop_ro("attempt", [](const DecisionRecord& self) { return self.decision.attempt; })
      .def_prop_ro(
          "beyond", [](const DecisionRecord& self) { return self.decision.beyond; },
          "Unverified verdicts before the call.")
      .def_prop_ro(
          "undisturbed", [](const DecisionRecord& self) { return self.decision.undisturbed; },
          "Probability that no committed call wants the slot meanwhile.")
      .def_prop_ro(
          "others", [](const DecisionRecord& self) { return self.decision.others; },
          "Other requests, running and queued.")
      .def_prop_ro(
          "critic_slowdown",
          [](const DecisionRecord& self) { return self.decision.critic_slowdown; },
          "s_c; None: not known.")
      .def_prop_ro(
          "generator_rate", [](const DecisionRecord& self) { return self.decision.generator_rate; },
          "r_g; None: not known.")
      .def_prop_ro(
          "verdict_us", [](const DecisionRecord& self) { return self.decision.verdict_time; },
          "Cv; None: not known.")
      .def_prop_ro(
          "generate_us", [](const DecisionRecord& self) { return self.decision.generate_time; },
          "G; None: not known.");
}

RequestId submit(BoundEngine& self, const BoundSpec& spec) {
  RequestSpec asked = spec;
  if (!(spec.timeout_s >= 0.0)) {
    throw Error(ErrorCode::kBadRequest, "[Engine.submit] timeout_s is " +
                                            std::to_string(spec.timeout_s) +
                                            ": give seconds, or 0 for none");
  }
  // A deadline beyond a century is none.
  constexpr double kLongest = 3.2e9;
  const nb::gil_scoped_release unlocked;
  if (spec.timeout_s > 0.0 && spec.timeout_s < kLongest) {
    asked.deadline = self.driver.now() + std::llround(spec.timeout_s * 1e6);
  }
  return self.driver.submit(std::move(asked));
}

nb::object next_event(BoundEngine& self, RequestId request, int timeout_ms) {
  std::optional<ReaderEvent> event;
  {
    const nb::gil_scoped_release unlocked;
    event = self.driver.next_event(request, std::chrono::milliseconds(std::max(0, timeout_ms)));
  }
  return event ? nb::object(tuple_of(std::move(*event))) : nb::none();
}

void bind_requests(nb::class_<BoundEngine>& cls) {
  using E = BoundEngine;
  cls.def(
         "put_image",
         [](E& self, const PixelsIn& pixels) {
           const nb::gil_scoped_release unlocked;
           return to_hex(self.driver.put_image(copy_of(pixels)));
         },
         "pixels"_a.noconvert(), "Stores uint8 [height, width, 3]; returns its key.")
      .def(
          "release_image",
          [](E& self, const std::string& key) { self.driver.release_image(key_of_hex(key)); },
          "key"_a, Unlocked(), "Takes one put_image back.")
      .def("submit", &submit, "spec"_a)
      .def("next_event", &next_event, "request"_a, "timeout_ms"_a,
           nb::sig("def next_event(self, request: int, timeout_ms: int) -> "
                   "tuple[typing.Any, ...] | None"),
           "The next event as (kind, ...), or None: ('plan_step', index, PlanStep), "
           "('attempt_image', step, Attempt, pixels), ('verdict', step, attempt, Verdict), "
           "('step_committed', step, StepResult), ('ended', Outcome, code, message, truncated).")
      .def(
          "cancel", [](E& self, RequestId request) { self.driver.cancel(request); }, "request"_a,
          Unlocked())
      .def(
          "forget", [](E& self, RequestId request) { self.driver.forget(request); }, "request"_a,
          Unlocked(), "Gives up trace and images; a running request is cancelled.")
      .def(
          "trace",
          [](const E& self, RequestId request) {
            Trace trace;
            {
              const nb::gil_scoped_release unlocked;
              trace = self.driver.trace(request);
            }
            return trace.spans();
          },
          "request"_a)
      .def(
          "decisions",
          [](const E& self, RequestId request) {
            Trace trace;
            {
              const nb::gil_scoped_release unlocked;
              trace = self.driver.trace(request);
            }
            return trace.decisions();
          },
          "request"_a);
}

// One after the other, asked for by a thread that needs no GIL, as a lane does.
std::vector<double> encode_latencies_us(BoundEngine& self, const std::vector<std::string>& texts,
                                        const std::optional<std::string>& original,
                                        double pause_ms) {
  using Ticks = std::chrono::steady_clock;
  constexpr auto kPatience = std::chrono::seconds(10);
  std::vector<double> latencies;
  for (const std::string& text : texts) {
    TextJob job;
    job.role = original ? Role::kCritic : Role::kGenerator;
    job.text = text;
    job.original = original.value_or("");
    using Answer = std::pair<Ticks::time_point, std::optional<Failure>>;
    const auto answer = std::make_shared<std::promise<Answer>>();
    auto coming = answer->get_future();
    const auto begin = Ticks::now();
    self.driver.text().request(std::move(job),
                               [answer](const EncodedRef&, std::optional<Failure> failure) {
                                 answer->set_value({Ticks::now(), std::move(failure)});
                               });
    if (coming.wait_for(kPatience) != std::future_status::ready) {
      throw Error(ErrorCode::kDeadline,
                  "[Engine.encode_latencies_us] the text worker does not answer: is it running?");
    }
    const auto [end, failure] = coming.get();
    if (failure) throw Error(failure->code, failure->message);
    latencies.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause_ms));
  }
  return latencies;
}

void bind_texts(nb::class_<BoundEngine>& cls) {
  using E = BoundEngine;
  cls.def("encode_latencies_us", &encode_latencies_us, "texts"_a, "original"_a.none() = nb::none(),
          "pause_ms"_a = 1.0, Unlocked(),
          "Has the text worker encode generator prompts, or with `original` a critic's pairs, one "
          "after the other; microseconds until each was back with the lanes. For measurements.");
  cls.def(
         "poll_text",
         [](E& self, int timeout_ms, std::size_t most) {
           const nb::gil_scoped_release unlocked;
           return self.driver.text().poll(std::chrono::milliseconds(std::max(0, timeout_ms)), most);
         },
         "timeout_ms"_a, "most"_a)
      .def(
          "finish_text",
          [](E& self, std::uint64_t job, const IdsIn& ids, const std::optional<IdsIn>& mask) {
            EncodedText encoded{copy_of(ids), mask ? copy_of(*mask) : std::vector<std::int64_t>{}};
            const nb::gil_scoped_release unlocked;
            self.driver.text().finish(job, std::move(encoded));
          },
          "job"_a, "ids"_a, "mask"_a.none() = nb::none())
      .def(
          "fail_text",
          [](E& self, std::uint64_t job, const std::string& code, std::string message) {
            Failure failure{code_of(code), std::move(message)};
            const nb::gil_scoped_release unlocked;
            self.driver.text().fail(job, std::move(failure));
          },
          "job"_a, "code"_a, "message"_a);
}

}  // namespace

void bind_engine(nb::module_& m) {
  bind_config(m);
  bind_jobs(m);
  bind_trace(m);
  using E = BoundEngine;
  nb::class_<E> cls(m, "Engine", "Scheduler, lanes, images and readers. Thread-safe.");
  cls.def(nb::init<const BoundEngineConfig&>(), "config"_a)
      .def("add_planner", &E::add_planner, "config"_a, "device"_a, "name"_a, Unlocked())
      .def("add_critic", &E::add_critic, "config"_a, "device"_a, "name"_a, Unlocked())
      .def("add_generator", &E::add_generator, "config"_a, "device"_a, "name"_a, Unlocked())
      .def("add_scripted", &E::add_scripted, "config"_a, Unlocked(),
           "Adds three scripted lanes. They need no text worker.")
      .def(
          "set_draining", [](E& self, bool draining) { self.driver.set_draining(draining); },
          "draining"_a, Unlocked())
      .def(
          "live", [](const E& self) { return self.driver.live(); }, Unlocked(),
          "Requests that were accepted and not read to their end.")
      .def(
          "close", [](E& self) { self.driver.close(); }, Unlocked(),
          "Cancels what is under way and joins all threads.")
      .def(
          "now_us", [](const E& self) { return self.driver.now(); },
          "The clock of traces, in microseconds.")
      .def(
          "lanes",
          [](const E& self) {
            std::vector<LaneInfo> lanes;
            {
              const nb::gil_scoped_release unlocked;
              lanes = self.driver.lanes();
            }
            nb::list found;
            for (const LaneInfo& lane : lanes) {
              found.append(nb::make_tuple(name_of(lane.role), lane.capacity, lane.device));
            }
            return found;
          },
          nb::sig("def lanes(self) -> list[tuple[str, int, str]]"),
          "(role, capacity, device) of every lane.")
      .def(
          "counters",
          [](const E& self) {
            DriverCounters counters;
            {
              const nb::gil_scoped_release unlocked;
              counters = self.driver.counters();
            }
            return dict_of(counters);
          },
          nb::sig("def counters(self) -> dict[str, typing.Any]"));
  bind_requests(cls);
  bind_texts(cls);
}

}  // namespace irt
