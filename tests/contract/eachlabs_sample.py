# ruff: noqa: BLE001, T201, TRY002 - as it is documented
"""The documented sample program of the Eachlabs API with four things changed: host, key, its image, null and false."""

import base64
import mimetypes
import sys
import time
from pathlib import Path

import requests

HOST, API_KEY, *PICTURE = sys.argv[1:]


def image():
    if not PICTURE:
        return None
    if not Path(PICTURE[0]).exists():
        return PICTURE[0]
    kind = mimetypes.guess_type(PICTURE[0])[0]
    return f"data:{kind};base64,{base64.b64encode(Path(PICTURE[0]).read_bytes()).decode()}"


HEADERS = {"X-API-Key": API_KEY, "Content-Type": "application/json"}


def create_prediction():
    response = requests.post(
        f"{HOST}/v1/prediction/",
        headers=HEADERS,
        json={
            "model": "flux-dev",
            "version": "0.0.1",
            "input": {
                "seed": None,
                "image": image(),
                "prompt": "your prompt here",
                "guidance": "3.5",
                "num_outputs": "1",
                "aspect_ratio": "1:1",
                "output_format": "webp",
                "output_quality": "80",
                "prompt_strength": "0.8",
                "num_inference_steps": "28",
                "disable_safety_checker": False,
            },
        },
    )
    prediction = response.json()
    if prediction["status"] != "success":
        raise Exception(f"Prediction failed: {prediction}")
    return prediction["predictionID"]


def get_prediction(prediction_id):
    while True:
        result = requests.get(f"{HOST}/v1/prediction/{prediction_id}", headers=HEADERS).json()
        if result["status"] == "success":
            return result
        if result["status"] == "error":
            raise Exception(f"Prediction failed: {result}")
        time.sleep(1)  # Wait before polling again


try:
    # Create prediction
    prediction_id = create_prediction()
    print(f"Prediction created: {prediction_id}")
    # Get result
    result = get_prediction(prediction_id)
    print(f"Output URL: {result['output']}")
    print(f"Processing time: {result['metrics']['predict_time']}s")
except Exception as e:
    print(f"Error: {e}")
