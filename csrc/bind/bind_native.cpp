// Configuration of native roles, and the synchronous roles of the reference loop.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>
#include <utility>

#include "bind/convert.h"
#include "bind/engine.h"
#include "bind/native_config.h"
#include "engine/image_model.h"
#include "engine/inline_roles.h"
#include "engine/model_lane.h"
#include "engine/vlm_model.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {

template <>
inline constexpr auto kNames<StopReason> =
    std::array{"none", "end_of_text", "length", "cache_full", "non_finite", "grammar"};
template <>
struct Fields<BatchedDecoder::Counters> {
  using S = BatchedDecoder::Counters;
  static constexpr auto kRows =
      fields<&S::steps, &S::tokens, &S::constrained_tokens, &S::corrected_tokens>();
};

namespace {

// Looks at the arrays, which must live until it is answered.
Question question_of(const IdsIn& ids, const std::vector<PixelsIn>& images, std::uint64_t seed,
                     int retry) {
  Question question{span_of(ids), {}, seed, retry};
  for (const PixelsIn& image : images) question.images.push_back(view_of(image));
  return question;
}

void add_model(Driver& driver, Role role, std::unique_ptr<RoleModel> model,
               const std::string& device, const std::string& name) {
  const LaneInfo info{driver.next_lane_id(), role, model->capacity(), device, name};
  driver.add_lane(
      std::make_unique<ModelLane>(info, std::move(model), driver, driver.images(), driver.text()));
}

template <Role kRole>
void add_vlm(BoundEngine& self, const Dict& config, const std::string& device,
             const std::string& name) {
  const auto bound = struct_of<BoundVlmConfig>(config);
  const nb::gil_scoped_release released;
  add_model(self.driver(), kRole, std::make_unique<VlmModel>(bound.resolved()), device, name);
}

void add_generator(BoundEngine& self, const Dict& config, const std::string& device,
                   const std::string& name) {
  const auto bound = struct_of<ImageModelConfig>(config);
  const nb::gil_scoped_release released;
  auto model = std::make_unique<ImageModel>(bound, keep_in(self.driver().images()));
  add_model(self.driver(), Role::kGenerator, std::move(model), device, name);
}

}  // namespace

void add_roles(nb::class_<BoundEngine>& cls) {
  cls.def("add_planner", &add_vlm<Role::kPlanner>, "config"_a, "device"_a, "name"_a)
      .def("add_critic", &add_vlm<Role::kCritic>, "config"_a, "device"_a, "name"_a)
      .def("add_generator", &add_generator, "config"_a, "device"_a, "name"_a);
}

void bind_native(nb::module_& m) {
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
          [](InlineVlm* self, const Dict& config, int slots) {
            new (self) InlineVlm(struct_of<BoundVlmConfig>(config).resolved(), slots);
          },
          "config"_a, "slots"_a = 1)
      .def(
          "answers",
          [](InlineVlm& self,
             const std::vector<std::tuple<IdsIn, std::vector<PixelsIn>, std::uint64_t, int>>&
                 asked) {
            std::vector<Question> questions;
            for (const auto& each : asked) questions.push_back(std::apply(question_of, each));
            return unlocked([&] { return self.answers(questions); });
          },
          "questions"_a,
          "Answers (ids, images, seed, retry) tuples, `slots` at once; for measurements.")
      .def("constrain", &InlineVlm::constrain, "on"_a,
           "Off: the next questions are asked as if the role had no grammar; for measurements.")
      .def("counters", [](InlineVlm& self) { return dict_of(self.counters()); })
      .def(
          "answer",
          [](InlineVlm& self, const IdsIn& ids, const std::vector<PixelsIn>& images,
             std::uint64_t seed, int retry) {
            const Question question = question_of(ids, images, seed, retry);
            return unlocked([&] { return self.answer(question); });
          },
          "ids"_a, "images"_a, "seed"_a, "retry"_a = 0,
          "Decodes to the end of the answer. `ids` holds one image token for each image.");

  nb::class_<InlineGenerator>(m, "NativeGenerator",
                              "The generator called synchronously at batch 1.")
      .def(
          "__init__",
          [](InlineGenerator* self, const Dict& config) {
            new (self) InlineGenerator(struct_of<ImageModelConfig>(config));
          },
          "config"_a)
      .def(
          "generate",
          [](InlineGenerator& self, const IdsIn& ids, const IdsIn& mask,
             const std::optional<PixelsIn>& source, std::uint64_t seed, int width, int height,
             int steps) {
            return array_of(unlocked([&] {
              return self.generate(span_of(ids), span_of(mask),
                                   source ? view_of(*source) : ImageView{}, seed, width, height,
                                   steps);
            }));
          },
          "ids"_a, "mask"_a, "source"_a.none(), "seed"_a, "width"_a = 0, "height"_a = 0,
          "steps"_a = 0, "Makes one image: uint8 [height, width, 3], read-only.");
}

}  // namespace irt
