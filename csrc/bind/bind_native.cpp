// Configuration of native roles, and the synchronous roles of the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "bind/engine.h"
#include "bind/native_config.h"
#include "engine/image_model.h"
#include "engine/inline_roles.h"
#include "engine/model_lane.h"
#include "engine/vlm_model.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

namespace {

using Ids = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Pixels = nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;

ImageView view_of(const Pixels& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}

std::span<const std::int64_t> span_of(const Ids& ids) { return {ids.data(), ids.size()}; }

const char* name_of(StopReason stop) {
  switch (stop) {
    case StopReason::kNone: return "none";
    case StopReason::kEndOfText: return "end_of_text";
    case StopReason::kLength: return "length";
    case StopReason::kCacheFull: return "cache_full";
    case StopReason::kNonFinite: return "non_finite";
    case StopReason::kGrammar: return "grammar";
  }
  return "none";
}

void bind_inline_roles(nb::module_& m) {
  nb::class_<Answer>(m, "Answer", "One whole answer of a vision-language model.")
      .def_prop_ro("text",
                   [](const Answer& self) { return nb::bytes(self.text.data(), self.text.size()); })
      .def_ro("tokens", &Answer::tokens)
      .def_ro("offsets", &Answer::offsets, "Byte offset in text at which each token begins.")
      .def_ro("verdict_p", &Answer::p_success, "p(success) at each token, from its logits.")
      .def_prop_ro("stop", [](const Answer& self) { return name_of(self.stop); });

  nb::class_<InlineVlm>(m, "NativeVlm", "A planner or critic called synchronously, without a lane.")
      .def(
          "__init__",
          [](InlineVlm* self, const nb::dict& config, int slots) {
            new (self) InlineVlm(struct_of<BoundVlmConfig>(config).resolved(), slots);
          },
          "config"_a, "slots"_a = 1,
          nb::sig("def __init__(self, config: dict[str, typing.Any], slots: int = 1) -> None"))
      .def(
          "answers",
          [](InlineVlm& self,
             const std::vector<std::tuple<Ids, std::vector<Pixels>, std::uint64_t, int>>& asked) {
            std::vector<Question> questions;
            for (const auto& [ids, images, seed, retry] : asked) {
              Question& question = questions.emplace_back();
              question.ids = span_of(ids);
              for (const Pixels& image : images) question.images.push_back(view_of(image));
              question.seed = seed;
              question.retry = retry;
            }
            const nb::gil_scoped_release unlocked;
            return self.answers(questions);
          },
          "questions"_a,
          "Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.")
      .def("constrain", &InlineVlm::constrain, "on"_a,
           "Off: the next questions are asked as if the role had no grammar; for measurements.")
      .def(
          "counters",
          [](InlineVlm& self) {
            const auto c = self.counters();
            nb::dict out;
            out["steps"] = c.steps;
            out["tokens"] = c.tokens;
            out["constrained_tokens"] = c.constrained_tokens;
            out["corrected_tokens"] = c.corrected_tokens;
            return out;
          },
          nb::sig("def counters(self) -> dict[str, int]"))
      .def(
          "answer",
          [](InlineVlm& self, const Ids& ids, const std::vector<Pixels>& images, std::uint64_t seed,
             int retry) {
            Question question{span_of(ids), {}, seed, retry};
            for (const Pixels& image : images) question.images.push_back(view_of(image));
            const nb::gil_scoped_release unlocked;
            return self.answer(question);
          },
          "ids"_a, "images"_a, "seed"_a, "retry"_a = 0,
          "Decodes to the end of the answer. `ids` holds one image token for each image.");

  nb::class_<InlineGenerator>(m, "NativeGenerator",
                              "The generator called synchronously at batch 1.")
      .def(
          "__init__",
          [](InlineGenerator* self, const nb::dict& config) {
            new (self) InlineGenerator(struct_of<ImageModelConfig>(config));
          },
          "config"_a, nb::sig("def __init__(self, config: dict[str, typing.Any]) -> None"))
      .def(
          "generate",
          [](InlineGenerator& self, const Ids& ids, const Ids& mask,
             const std::optional<Pixels>& source, std::uint64_t seed, int width, int height,
             int steps) {
            PixelBuffer made;
            {
              const nb::gil_scoped_release unlocked;
              made = self.generate(span_of(ids), span_of(mask),
                                   source ? view_of(*source) : ImageView{}, seed, width, height,
                                   steps);
            }
            auto* kept = new PixelBuffer(std::move(made));
            const nb::capsule owner(kept,
                                    [](void* p) noexcept { delete static_cast<PixelBuffer*>(p); });
            const std::size_t shape[] = {static_cast<std::size_t>(kept->height),
                                         static_cast<std::size_t>(kept->width), 3};
            return nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<3>>(kept->data.data(), 3,
                                                                           shape, owner);
          },
          "ids"_a, "mask"_a, "source"_a.none(), "seed"_a, "width"_a = 0, "height"_a = 0,
          "steps"_a = 0, "Makes one image: uint8 [height, width, 3], read-only.");
}

}  // namespace

namespace {

void add_model(Driver& driver, Role role, std::unique_ptr<RoleModel> model,
               const std::string& device, const std::string& name) {
  const LaneInfo info{driver.next_lane_id(), role, model->capacity(), device, name};
  driver.add_lane(
      std::make_unique<ModelLane>(info, std::move(model), driver, driver.images(), driver.text()));
}

template <Role kRole>
void add_vlm(BoundEngine& self, const nb::dict& config, const std::string& device,
             const std::string& name) {
  const auto bound = struct_of<BoundVlmConfig>(config);
  const nb::gil_scoped_release unlocked;
  add_model(self.driver(), kRole, std::make_unique<VlmModel>(bound.resolved()), device, name);
}

void add_generator(BoundEngine& self, const nb::dict& config, const std::string& device,
                   const std::string& name) {
  const auto bound = struct_of<ImageModelConfig>(config);
  const nb::gil_scoped_release unlocked;
  auto model = std::make_unique<ImageModel>(bound, keep_in(self.driver().images()));
  add_model(self.driver(), Role::kGenerator, std::move(model), device, name);
}

}  // namespace

void add_roles(nb::class_<BoundEngine>& cls) {
  constexpr const char* kSigs[] = {
      "def add_planner(self, config: dict[str, typing.Any], device: str, name: str) -> None",
      "def add_critic(self, config: dict[str, typing.Any], device: str, name: str) -> None",
      "def add_generator(self, config: dict[str, typing.Any], device: str, name: str) -> None"};
  cls.def("add_planner", &add_vlm<Role::kPlanner>, "config"_a, "device"_a, "name"_a,
          nb::sig(kSigs[0]))
      .def("add_critic", &add_vlm<Role::kCritic>, "config"_a, "device"_a, "name"_a,
           nb::sig(kSigs[1]))
      .def("add_generator", &add_generator, "config"_a, "device"_a, "name"_a, nb::sig(kSigs[2]));
}

void bind_native(nb::module_& m) { bind_inline_roles(m); }

}  // namespace irt
