"""Detection: boxes and their labels, predicted at every location of a pyramid of feature maps.

A detector without anchors, of one stage: `Detector` (any body, a feature pyramid, one head for all
levels), `DetectionLoss` (which location answers for which box, quality focal loss, generalized
IoU, and the way back through non-maximum suppression), `BoxMeanAveragePrecision`, and
`detection_learner`, which puts them together.
"""

from torte.vision.detection.learner import DetectionLearner, detection_learner
from torte.vision.detection.loss import DetectionLoss
from torte.vision.detection.matching import match_boxes
from torte.vision.detection.metric import BoxMeanAveragePrecision
from torte.vision.detection.network import Detector, detector_model

__all__ = [
    "BoxMeanAveragePrecision",
    "DetectionLearner",
    "DetectionLoss",
    "Detector",
    "detection_learner",
    "detector_model",
    "match_boxes",
]
