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

#include "bind/convert.h"
#include "bind/engine.h"
#include "bind/values.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

using Unlocked = nb::call_guard<WithoutGil>;

void bind_jobs(nb::module_& m) {
  nb::class_<TextJob>(m, "TextJob", "Work for the text worker.")
      .def_ro("id", &TextJob::id)
      .def_prop_ro("kind", [](const TextJob& self) { return call_name(self.role); })
      .def_prop_ro("mode", [](const TextJob& self) { return name_of(self.mode); })
      .def_ro("image_count", &TextJob::image_count)
      .def_ro("text", &TextJob::text)
      .def_ro("original", &TextJob::original);
}

// Images are handed over with the request: the store keeps them for as long as it needs them.
RequestId submit(BoundEngine& self, const Dict& request, const std::vector<PixelsIn>& images) {
  Asked asked = struct_of<Asked>(request);
  if (!(asked.timeout_s >= 0.0)) {
    throw Error(ErrorCode::kBadRequest, "[Engine.submit] timeout_s is " +
                                            std::to_string(asked.timeout_s) +
                                            ": give seconds, or 0 for none");
  }
  // A deadline beyond a century is none.
  constexpr double kLongest = 3.2e9;
  const WithoutGil unlocked;
  Driver& driver = self.driver();
  std::vector<Key>& keys = asked.spec.images;
  const auto release = [&] {
    for (const Key& key : keys) driver.release_image(key);
  };
  try {
    for (const PixelsIn& pixels : images) keys.push_back(driver.put_image(copy_of(pixels)));
    if (asked.timeout_s > 0.0 && asked.timeout_s < kLongest) {
      asked.spec.deadline = driver.now() + std::llround(asked.timeout_s * 1e6);
    }
    const RequestId taken = driver.submit(asked.spec);
    release();
    return taken;
  } catch (...) {
    release();
    throw;
  }
}

std::optional<Dict> next_event(BoundEngine& self, RequestId request, int timeout_ms) {
  std::optional<ReaderEvent> event = unlocked([&] {
    return self.driver().next_event(request, std::chrono::milliseconds(std::max(0, timeout_ms)));
  });
  return event ? std::optional(dict_of(std::move(*event))) : std::nullopt;
}

nb::typed<nb::dict, nb::str, Dicts> trace(const BoundEngine& self, RequestId request) {
  const Trace trace = unlocked([&] { return self.driver().trace(request); });
  nb::typed<nb::dict, nb::str, Dicts> out;
  out["spans"] = plain_of(trace.spans());
  out["decisions"] = plain_of(trace.decisions());
  return out;
}

void bind_requests(nb::class_<BoundEngine>& cls) {
  using E = BoundEngine;
  cls.def("submit", &submit, "request"_a, "images"_a.noconvert() = nb::list(),
          nb::sig("def submit(self, request: dict[str, typing.Any], images: "
                  "collections.abc.Sequence[numpy.typing.NDArray[numpy.uint8]] = ()) -> int"),
          "Takes a request with its pictures, uint8 [height, width, 3].")
      .def("next_event", &next_event, "request"_a, "timeout_ms"_a,
           "The next event as interleave_rt.wire reads it, or None. The `pixels` of an "
           "attempt_image are a read-only array that outlives the engine.")
      .def(
          "cancel", [](E& self, RequestId request) { self.driver().cancel(request); }, "request"_a,
          Unlocked())
      .def(
          "forget",
          [](E& self, RequestId request) {
            if (!self.forked()) self.driver().forget(request);  // also called by collected handles
          },
          "request"_a, Unlocked(), "Gives up the trace; a running request is cancelled.")
      .def(
          "watch", [](E& self, RequestId request) { self.driver().watch(request); }, "request"_a,
          Unlocked(), "From now on next_news tells of it.")
      .def(
          "next_news",
          [](E& self, int timeout_ms) {
            return self.driver().next_news(std::chrono::milliseconds(std::max(0, timeout_ms)));
          },
          "timeout_ms"_a, Unlocked(), "Watched requests that have something new to read.")
      .def("trace", &trace, "request"_a, "`spans` and `decisions`, times on the engine's clock.");
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
    self.driver().text().request(std::move(job),
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
         [](E& self, int timeout_ms, std::size_t most) -> std::optional<std::vector<TextJob>> {
           TextBroker& text = self.driver().text();
           auto jobs = text.poll(std::chrono::milliseconds(std::max(0, timeout_ms)), most);
           if (jobs.empty() && text.closed()) return std::nullopt;
           return jobs;
         },
         "timeout_ms"_a, "most"_a, Unlocked(), "Texts to encode; None: the engine is closed.")
      .def(
          "finish_text",
          [](E& self, std::uint64_t job, const IdsIn& ids, const std::optional<IdsIn>& mask,
             bool cut) {
            EncodedText encoded{copy_of(ids), mask ? copy_of(*mask) : std::vector<std::int64_t>{},
                                cut};
            const WithoutGil unlocked;
            self.driver().text().finish(job, std::move(encoded));
          },
          "job"_a, "ids"_a, "mask"_a.none() = nb::none(), "cut"_a = false,
          "`cut`: the text was longer than its encoder reads.")
      .def(
          "fail_text",
          [](E& self, std::uint64_t job, const std::string& code, std::string message) {
            self.driver().text().fail(job, {named<ErrorCode>(code), std::move(message)});
          },
          "job"_a, "code"_a, "message"_a, Unlocked());
}

}  // namespace

void add_roles(nb::class_<BoundEngine>& cls);     // bind_native.cpp
void add_scripted(nb::class_<BoundEngine>& cls);  // bind_scripted.cpp

void bind_engine(nb::module_& m) {
  bind_jobs(m);
  using E = BoundEngine;
  nb::class_<E> cls(m, "Engine", "Scheduler, lanes, images and readers. Thread-safe.");
  cls.def(
         "__init__",
         [](E* self, const Dict& config) { new (self) E(struct_of<DriverConfig>(config)); },
         "config"_a)
      .def(
          "set_draining", [](E& self, bool draining) { self.driver().set_draining(draining); },
          "draining"_a, Unlocked())
      .def(
          "live", [](const E& self) { return self.driver().live(); }, Unlocked(),
          "Requests that were accepted and not read to their end.")
      .def(
          "close", [](E& self) { self.driver().close(); }, Unlocked(),
          "Cancels what is under way and joins all threads.")
      .def(
          "now_us", [](const E& self) { return self.driver().now(); },
          "The clock of traces, in microseconds.")
      .def("lanes",
           [](const E& self) {
             return Dicts(plain_of(unlocked([&] { return self.driver().lanes(); })));
           })
      .def("counters", [](const E& self) {
        return dict_of(unlocked([&] { return self.driver().counters(); }));
      });
  add_roles(cls);
  add_scripted(cls);
  bind_requests(cls);
  bind_texts(cls);
}

}  // namespace irt
