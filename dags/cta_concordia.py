"""UC13 of CTA: air showers by CORSIKA in a container of the configuration asked for."""

from __future__ import annotations

from airflow.sdk import DAG

from operators.concordia import concordia_dag

dag: DAG = concordia_dag("cta_concordia", experiment="CTA")
